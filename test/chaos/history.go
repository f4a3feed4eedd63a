//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"

	"rpcpool.dev/sidecar/supervise"
)

// visit is one session as its client saw it.
type visit struct {
	program  program
	server   int // -1: none was granted
	granted  time.Time
	admitted time.Time // zero: never
	served   bool      // kInitServer was answered
	first    time.Time // first good call begun; zero: none
	last     time.Time // last good call answered
	began    time.Time // when the client did what its way is
	ended    time.Time
	end      end
	text     string // of the exception, or the error
	wrong    string // a right call with a wrong answer; empty: none
	misses   []miss // grants that led to nothing before
}

// miss is a grant that led to nothing: nobody listened, or the ticket was not
// good any more.
type miss struct {
	server int
	at     time.Time
	end    end
}

// end is how a client's session ended for it.
type end string

const (
	endOwn       end = "closed by itself"
	endException end = "exception"
	endEOF       end = "EOF"
	endReset     end = "reset"
	endHung      end = "no end"
	endMismatch  end = "mismatch"    // of a ticket
	endUnclear   end = "no answer"   // to a handshake
	endGarbage   end = "garbage"     // a reply that is none
	endNotSent   end = "not made"    // the run was over
	endUnreached end = "not reached" // the server does not listen
)

func (v visit) String() string {
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Format("05.000")
	}
	return fmt.Sprintf("session %d on server %d: %s; granted %s, admitted %s, calls %s to %s, %s at %s (after %d tries): %q %s",
		v.program.number, v.server, v.program, stamp(v.granted), stamp(v.admitted), stamp(v.first), stamp(v.last),
		v.end, stamp(v.ended), len(v.misses), v.text, v.wrong)
}

// record is one session as a sidecar recorded it.
type record struct {
	number   int // of the session, from its client's address
	server   int
	at       time.Time
	id       string
	cause    string
	how      string
	limit    string
	code     int
	signal   int
	began    time.Time
	duration time.Duration
}

func (r record) String() string {
	return fmt.Sprintf("record %s at %s: %s (%s), lasted %s", r.id, r.at.Format("05.000"), r.cause, r.how, r.duration)
}

// guess tells whether the record's cause is a guess: when an agent is gone
// without a word and the kernel has killed something meanwhile for lack of
// memory, anywhere on the machine, sidecars blame that.
func (r record) guess() bool {
	return r.cause == string(supervise.CauseOOM) && strings.HasPrefix(r.how, "everything in the device's container died")
}

// hit is something that was done to a process.
type hit struct {
	at     time.Time
	until  time.Time // of a stop: when it went on or was killed
	server int       // -1: the tracker
	kind   hitKind
	pid    int
}

// hitKind is what was done to what.
type hitKind string

const (
	hitWorker      hitKind = "SIGKILL worker"
	hitAgent       hitKind = "SIGKILL agent"
	hitSidecar     hitKind = "SIGKILL sidecar"
	hitBoth        hitKind = "SIGKILL agent and sidecar"
	hitServe       hitKind = "SIGKILL serve"
	hitGuard       hitKind = "SIGKILL guard"
	hitStop        hitKind = "SIGSTOP agent, SIGCONT"
	hitStopKill    hitKind = "SIGSTOP agent, SIGKILL"
	hitTermAgent   hitKind = "SIGTERM agent"
	hitTermSidecar hitKind = "SIGTERM sidecar"
	hitTermServe   hitKind = "SIGTERM serve"
	hitTracker     hitKind = "SIGKILL tracker"
)

func (h hit) String() string {
	return fmt.Sprintf("%s (%d) of server %d at %s to %s", h.kind, h.pid, h.server, h.at.Format("05.000"), h.until.Format("05.000"))
}

// stops tells whether the agent was stopped for a while.
func (k hitKind) stops() bool { return k == hitStop || k == hitStopKill }

// end is when a hit was over; one that is not, lasts until now.
func (h hit) end(now time.Time) time.Time {
	switch {
	case !h.kind.stops():
		return h.at
	case h.until.IsZero():
		return now
	default:
		return h.until
	}
}

// endsAgent tells whether the server's agent died of it, and with it what it
// knew.
func (k hitKind) endsAgent() bool {
	switch k {
	case hitAgent, hitBoth, hitServe, hitGuard, hitStopKill, hitTermAgent, hitTermServe:
		return true
	default:
		return false
	}
}

// killsSidecar tells whether the server's sidecar died of it without a word.
func (k hitKind) killsSidecar() bool { return k == hitSidecar || k == hitBoth || k == hitServe }
