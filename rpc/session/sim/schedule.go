package sim

import (
	"fmt"
	"strings"
	"time"
)

// Fault is something that goes wrong.
type Fault uint8

// What may go wrong.
const (
	Cut         Fault = iota // a connection is lost, in one of the ways in which it can be
	Stall                    // a client's kernel takes nothing for a while
	Delay                    // a message is late
	Second                   // a client makes another connection beside a good one
	Part                     // two nodes cannot reach each other
	Pause                    // a process is stopped for a while
	Point                    // a server crashes between two of its steps
	Crash                    // a server crashes at any time
	Drain                    // a server refuses all calls, and is started again
	Replacement              // a server is gone for good, another takes its place
	Reboot                   // a program crashes, and starts again
	Worker                   // a worker dies
	Poison                   // a call kills every worker
	Refusal                  // a server does not want a call
	Leave                    // a server leaves the list, for a while or several times in a row
	Long                     // a handler runs for about a lease, or for longer
	Astray                   // a server's name leads to another one for a while
	faults
)

var faultNames = [faults]string{
	"cut", "stall", "delay", "second", "part", "pause", "point", "crash", "drain", "replacement", "reboot", "worker", "poison", "refusal", "leave", "long", "astray",
}

// String is the name, as flags have it.
func (f Fault) String() string { return faultNames[f] }

// Schedule is all that makes a run what it is: the same Schedule, the same run.
type Schedule struct {
	Seed    uint64
	Storm   time.Duration // for so long there are faults; 0: 1.2 s
	Without uint32        // faults that do not happen, a bit each
}

// without leaves a fault out.
func (s Schedule) without(f Fault) Schedule {
	s.Without |= 1 << f
	return s
}

// String is the flags that play it again.
func (s Schedule) String() string {
	b := fmt.Sprintf("-seed %d", s.Seed)
	if s.Storm != stormy {
		b += fmt.Sprintf(" -storm %s", s.Storm)
	}
	var left []string
	for f := range faults {
		if s.Without&(1<<f) != 0 {
			left = append(left, f.String())
		}
	}
	if left != nil {
		b += " -without " + strings.Join(left, ",")
	}
	return b
}

// ParseWithout reads a list of faults, as String writes it.
func (s Schedule) ParseWithout(list string) (Schedule, error) {
	for name := range strings.SplitSeq(list, ",") {
		found := name == ""
		for f := range faults {
			if f.String() == name {
				s, found = s.without(f), true
			}
		}
		if !found {
			return s, fmt.Errorf("unknown fault %q", name)
		}
	}
	return s, nil
}

// Narrow looks for a smaller schedule that is still broken: with fewer faults, and
// with a shorter storm.
func Narrow(s Schedule, broken func(Schedule) bool) Schedule {
	for f := range faults {
		if less := s.without(f); broken(less) {
			s = less
		}
	}
	for step := s.Storm / 2; step > time.Millisecond; step /= 2 {
		less := s
		if less.Storm -= step; broken(less) {
			s = less
		}
	}
	return s
}
