//go:build linux

package faults

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Target says which processes of a container are meant: all, or those that the
// one of the other fields which is set names.
type Target struct {
	Container string
	Process   string // name of the process or of its program; python is also python3.11
	Init      bool   // the container's first process
	PID       int    // on the node
}

// Hit is a process that was sent a signal.
type Hit struct {
	PID    int    `json:"pid"`    // on the node
	Inside int    `json:"inside"` // in the container
	Name   string `json:"name"`
	At     int64  `json:"at"` // Unix time in nanoseconds, right before the signal
}

// Report is what [Node.Kill] did.
type Report struct {
	Container string `json:"container"`
	Signal    int    `json:"signal"`
	Hits      []Hit  `json:"hits"`
}

// Kill sends a signal to a container's processes, the oldest first. It is an error
// if no process got it.
func (n Node) Kill(target Target, signal unix.Signal) (Report, error) {
	all, err := n.Processes(target.Container)
	if err != nil {
		return Report{}, err
	}
	chosen, err := target.choose(all)
	if err != nil {
		return Report{}, err
	}
	held, err := n.hold(target.Container, chosen)
	defer func() {
		for _, h := range held {
			_ = unix.Close(h.pidfd)
		}
	}()
	if err != nil {
		return Report{}, err
	}
	report := Report{Container: target.Container, Signal: int(signal)}
	for _, h := range held {
		hit := Hit{PID: h.PID, Inside: h.Inside, Name: h.Name, At: time.Now().UnixNano()}
		switch err := unix.PidfdSendSignal(h.pidfd, signal, nil, 0); {
		case err == nil:
			report.Hits = append(report.Hits, hit)
		case !errors.Is(err, unix.ESRCH): // it has ended, perhaps with the one before
			return report, fmt.Errorf("signal %d to process %d (%s): %w", signal, h.PID, h.Name, err)
		}
	}
	if len(report.Hits) == 0 {
		return report, fmt.Errorf("container %s: what was to get signal %d has just ended", target.Container, signal)
	}
	return report, nil
}

// held is a process that cannot become another one.
type held struct {
	Process
	pidfd int
}

// hold opens processes, and leaves out those that ended since they were listed.
func (n Node) hold(container string, chosen []Process) (all []held, err error) {
	id, err := parseID(container)
	if err != nil {
		return nil, err
	}
	for _, p := range chosen {
		fd, err := unix.PidfdOpen(p.PID, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return all, fmt.Errorf("open process %d: %w", p.PID, err)
		}
		// Only now the id is this process' as long as fd is open: look again.
		switch now, err := n.process(p.PID, id); {
		case err == nil && now.started == p.started:
			all = append(all, held{Process: p, pidfd: fd})
			continue
		case err != nil && !gone(err):
			_ = unix.Close(fd)
			return all, err
		}
		_ = unix.Close(fd)
	}
	return all, nil
}

// choose returns the processes that are meant, without those that have ended and
// only wait for their parent.
func (t Target) choose(all []Process) ([]Process, error) {
	first := 0
	if roots := Tree(all); len(roots) > 0 {
		first = roots[0].PID
	}
	var chosen []Process
	for _, p := range all {
		if t.means(p, first) && p.State != "Z" && p.State != "X" {
			chosen = append(chosen, p)
		}
	}
	if len(chosen) > 0 {
		return chosen, nil
	}
	names := make([]string, 0, len(all))
	for _, p := range all {
		names = append(names, fmt.Sprintf("%d %s (%s)", p.PID, p.Name, p.State))
	}
	return nil, fmt.Errorf("container %s has no running process %s; it has %s", t.Container, t.words(), strings.Join(names, ", "))
}

func (t Target) means(p Process, first int) bool {
	switch {
	case t.Init:
		return p.PID == first
	case t.PID != 0:
		return p.PID == t.PID
	case t.Process != "":
		return p.is(t.Process)
	}
	return true
}

func (t Target) words() string {
	switch {
	case t.Init:
		return "that is its first"
	case t.PID != 0:
		return fmt.Sprintf("with the id %d", t.PID)
	case t.Process != "":
		return "named " + t.Process
	}
	return "at all"
}

// is says whether a process goes by that name: its own, its program's, with or
// without a version at the end, or the one it was started by.
func (p Process) is(name string) bool {
	names := []string{p.Name, p.program}
	if len(p.Command) > 0 {
		names = append(names, filepath.Base(p.Command[0]))
	}
	for _, n := range names {
		if n == name || strings.TrimRight(n, ".0123456789") == name {
			return true
		}
	}
	return false
}
