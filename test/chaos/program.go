//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"
)

// program is what the client of one session does.
type program struct {
	number  int // of the session, from 1 on
	calls   []call
	way     way // how it ends
	arg     int // of the way: an exit status, a number of processes, of bytes or of seconds
	timeout time.Duration
	pick    uint64 // chooses a server where no tracker does
}

// call is a good call: it has a right answer.
type call struct {
	kind callKind
	size int // bytes, or the number itself
}

type callKind string

const (
	callAddOne callKind = "addone"
	callEcho   callKind = "echo"
	callFile   callKind = "file" // up and down
	callMatmul callKind = "matmul"
)

// way is how a session ends.
type way string

// Ways of which the worker is the cause: a function is called that does it.
const (
	wayGood          way = "good" // kShutdown
	waySegfault      way = "segfault"
	wayIllegal       way = "illegal"
	wayAbort         way = "abort"
	wayExit0         way = "exit0"
	wayExit          way = "exit"
	wayExitThread    way = "exit_thread"
	wayPanic         way = "panic"
	wayStackOverflow way = "stackoverflow"
	wayDeadlock      way = "deadlock"
	waySpin          way = "spin"
	wayIgnoreSigterm way = "ignore_sigterm"
	waySigstop       way = "sigstop"
	wayLeakFD        way = "leakfd"
	wayCloseFDs      way = "closefds"
	wayGarbage       way = "garbage"
	wayGrandchildren way = "grandchildren"
	wayForkBomb      way = "forkbomb"
	wayHog           way = "hog"      // within the limit
	wayHogOver       way = "hog-over" // over it
)

// Ways of which the client is the cause.
const (
	wayFIN       way = "fin"            // closes between two calls
	wayRST       way = "rst"            // the same, by a reset
	wayHalfClose way = "half-close"     // says that it sends no more, and reads on
	wayVanish    way = "vanish"         // closes in mid-call
	wayVanishRST way = "vanish-rst"     // the same, by a reset
	wayHalfCall  way = "half-close-mid" // half-closes in mid-call
	wayJunk      way = "junk"           // sends what is no packet, and waits for the server to leave first
	wayJunkLeave way = "junk-leave"     // the same, and leaves when it is told
	wayCutPacket way = "cut-packet"     // closes in the middle of a packet
	wayHold      way = "hold"           // does nothing until the deadline
	wayMute      way = "mute"           // the same, without ever saying kInitServer
)

// Ways that lead to no session: nothing may be on record of them.
const (
	wayDoorJunk   way = "door-junk"   // no handshake
	wayDoorSilent way = "door-silent" // connects and is silent
	wayDoorCut    way = "door-cut"    // half a handshake, then FIN
	wayDoorStale  way = "door-stale"  // a ticket that is no longer good
	wayGhost      way = "ghost"       // takes a grant and never comes
)

// session tells whether a way leads to a session.
func (w way) session() bool { return w != wayGhost && !strings.HasPrefix(string(w), "door-") }

// granted tells whether a way begins with a grant of the tracker.
func (w way) granted() bool { return w.session() || w == wayGhost }

// function is what a way calls last, and with what; empty if it calls nothing.
func (p program) function() (name string, arg int, hasArg bool) {
	switch p.way {
	case waySegfault, wayIllegal, wayAbort, wayExit0, wayPanic, wayStackOverflow, wayDeadlock,
		waySpin, wayIgnoreSigterm, waySigstop, wayCloseFDs, wayGarbage:
		return "test." + string(p.way), 0, false
	case wayExit, wayExitThread, wayLeakFD, wayGrandchildren, wayForkBomb, wayHog:
		return "test." + string(p.way), p.arg, true
	case wayHogOver:
		return "test.hog", p.arg, true
	case wayVanish, wayVanishRST, wayHalfCall:
		if p.arg == 0 {
			return "test.spin", 0, false
		}
		return "test.sleep", p.arg, true
	default:
		return "", 0, false
	}
}

// nap is how long the worker sleeps while its client leaves; 0: it does not.
func (p program) nap() time.Duration {
	if name, seconds, _ := p.function(); name == "test.sleep" {
		return time.Duration(seconds) * time.Second
	}
	return 0
}

// goesOn tells whether the session outlasts its function.
func (w way) goesOn() bool {
	switch w {
	case wayLeakFD, wayGrandchildren, wayForkBomb, wayHog:
		return true
	default:
		return false
	}
}

func (p program) String() string {
	var b strings.Builder
	for _, c := range p.calls {
		fmt.Fprintf(&b, "%s(%d) ", c.kind, c.size)
	}
	fmt.Fprintf(&b, "%s", p.way)
	if _, arg, ok := p.function(); ok {
		fmt.Fprintf(&b, "(%d)", arg)
	}
	return b.String() + fmt.Sprintf(" within %s", p.timeout)
}
