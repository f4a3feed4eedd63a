//go:build unix

package worker

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/workers/go/notify"
)

// pulse tells the supervisor that the session's loop goes round and what it is
// busy with. The nil pulse of a worker whose supervisor wants to know neither
// does nothing. Heartbeats come from the loop itself: a helper thread would go on
// when the loop hangs.
type pulse struct {
	n     *notify.Notifier
	every time.Duration // at least one heartbeat in this time; 0: none is wanted
}

func newPulse() *pulse {
	if os.Getenv("WATCHDOG_USEC") == "" && os.Getenv("RPCPOOL_PHASES") == "" {
		return nil
	}
	n := notify.FromEnv()
	if n == nil {
		return nil
	}
	return &pulse{n: n, every: n.Interval()}
}

func (p *pulse) beat() {
	if p != nil && p.every > 0 {
		p.n.Beat()
	}
}

func (p *pulse) extend(d time.Duration) {
	if p != nil && p.every > 0 {
		p.n.Extend(d)
	}
}

// begin declares a phase and returns what ends it.
func (p *pulse) begin(phase string) (end func()) {
	if p == nil || !p.n.Wants(phase) {
		return func() {}
	}
	p.n.Phase(phase)
	return func() { p.n.Phase("") }
}

// section declares that a function runs now, in which the loop cannot send
// heartbeats. The function has the rest of the session's time; the heartbeat
// after its packet ends the section.
func (p *pulse) section(phase string, deadline time.Time) (end func()) {
	left := time.Duration(0) // no bound
	if !deadline.IsZero() {
		left = max(time.Until(deadline), time.Microsecond)
	}
	p.extend(left)
	return p.begin(phase)
}

// wait returns when the descriptor is ready for the events of poll(2), or has
// failed; until then it sends heartbeats, the first at once. If none are wanted
// it returns at once: the call that follows blocks.
func (p *pulse) wait(fd int, events int16) {
	if p == nil || p.every == 0 {
		return
	}
	for {
		p.beat()
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(fds, max(int(p.every.Milliseconds()), 1))
		if n > 0 || err != nil && err != unix.EINTR {
			return
		}
	}
}

// conn is the session's connection: the socket itself if no heartbeats are
// wanted.
func (p *pulse) conn(s *socket) io.ReadWriteCloser {
	if p == nil || p.every == 0 {
		return s
	}
	return &pulsing{socket: s, pulse: p}
}

// phaseOf tells what a call of a function is.
func phaseOf(function string) string {
	switch function {
	case "tvm.rpc.server.upload":
		return notify.PhaseUpload
	case "tvm.rpc.server.load_module":
		return notify.PhaseLoad
	default:
		return notify.PhaseRun
	}
}
