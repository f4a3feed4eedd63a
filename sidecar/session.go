package sidecar

import (
	"fmt"
	"log/slog"
	"time"

	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tvm"
)

// session is the one session of a server, from the claimed ticket to the end of
// its worker's tree.
type session struct {
	id      string
	client  string
	timeout time.Duration
	clamped bool      // the client gets less time than it asked for
	began   time.Time // when the client was admitted
	handed  time.Time // when a worker got it; zero while it waits for one
	socket  *peerSocket
	unwatch func()
	worker  string
	gone    time.Time // when the client closed its side; zero while it has not
	// leftFirst is true if the worker had not ended its own side by then.
	leftFirst bool
	drainAt   time.Time       // when it is killed because the server stops; zero: not
	killing   time.Time       // when the agent was told to kill it; zero: it was not
	why       supervise.Cause // of killing
	taken     bool            // the agent has said that a worker has it
	cleaning  bool            // its tree is gone, and the agent removes what is left
	overdue   supervise.Cause // why it should have ended, if the agent was given up over it
	probe     *probe          // not a client's session but our own question to a worker
	foreign   bool            // begun by an earlier sidecar
	flavour   tvm.Flavour     // of a foreign session
	// What the kernel had killed for lack of memory when the session began.
	oomBefore uint64
	oomKnown  bool
}

// spec is the session as its worker and the agent see it.
func (s *session) spec(key string) supervise.Session {
	return supervise.Session{ID: s.id, Key: key, Client: s.client, Timeout: s.timeout}
}

// end is the truth about a session.
type end struct {
	cause  supervise.Cause
	report supervise.Report
}

// endOf judges the report of a session's worker. A worker whose client went
// away first cannot be blamed for how it ended; nor a client that left because
// the worker had ended the session.
func (s *session) endOf(r supervise.Report) end {
	cause := r.Cause
	switch cause {
	case supervise.CauseCrashExit, supervise.CauseCrashSignal, supervise.CauseProtocolError:
		if !s.gone.IsZero() && s.leftFirst {
			cause = supervise.CauseClientGone
		}
	default:
	}
	return end{cause: cause, report: r}
}

// exceptionText is what the client is told, or empty if it needs no telling.
// Only the timeout has words that stock clients know.
func (s *session) exceptionText(e end) string {
	switch e.cause {
	case supervise.CauseCompleted, supervise.CauseClientGone, supervise.CauseProtocolError:
		return ""
	case supervise.CauseTimeout:
		return tvm.SessionTimeoutPrefix + s.timeoutText(e.report)
	case supervise.CauseKilledDrain:
		return fmt.Sprintf("%s: the server is stopping", e.cause)
	case supervise.CauseOOM:
		return fmt.Sprintf("%s: %s", e.cause, oomText(e.report))
	case supervise.CauseUnkillable:
		return fmt.Sprintf("%s: the worker does not die; its device is withdrawn", e.cause)
	case supervise.CauseCrashSignal, supervise.CauseCrashExit, supervise.CauseStartFailed:
		return fmt.Sprintf("%s: %s", e.cause, e.report)
	default:
		return fmt.Sprintf("%s: the session ended", e.cause)
	}
}

// timeoutText says which time was over.
func (s *session) timeoutText(r supervise.Report) string {
	switch {
	case r.Limit != "" && r.Limit != supervise.LimitSession:
		return "session killed: " + r.Error
	case s.clamped:
		return fmt.Sprintf("session killed after %s, the server's maximum", s.timeout)
	default:
		return fmt.Sprintf("session killed after %s, its limit", s.timeout)
	}
}

// oomText says what there was too much of.
func oomText(r supervise.Report) string {
	if r.Error != "" {
		return r.Error
	}
	peak := max(r.PeakMemory, r.MaxRSS)
	return fmt.Sprintf("the worker was killed because memory ran out (peak %d MiB)", peak>>20)
}

// farewellPacket is the exception to write to the client. There is none when
// the worker died in the middle of a reply that the client has not read: the
// packet would be taken for the rest of that reply.
func (s *session) farewellPacket(e end, f tvm.Flavour) []byte {
	text := s.exceptionText(e)
	if text == "" || s.socket.midReply() {
		return nil
	}
	return tvm.AppendException(nil, f, text)
}

// outputInRecord is how much of a worker's output its session's record has, in
// bytes; all that is kept is logged at level debug.
const outputInRecord = 4 << 10

// record logs the session: who, when, how long, how much, how it ended.
func (s *session) record(log *slog.Logger, e end, t traffic, now time.Time) {
	var output string // of an end that somebody will want to understand
	if e.cause != supervise.CauseCompleted && e.cause != supervise.CauseClientGone {
		output = string(e.report.Output[max(0, len(e.report.Output)-outputInRecord):])
		log.Debug("output of the worker", "session", s.id, "output", string(e.report.Output))
	}
	log.Info("session ended",
		"session", s.id, "client", s.client, "cause", string(e.cause), "how", e.report.String(),
		"began", s.began, "duration", now.Sub(s.began), "timeout", s.timeout, "clamped", s.clamped,
		"received_bytes", t.received, "sent_bytes", t.sent, "rtt", t.rtt, "retransmits", t.retransmits,
		"limit", string(e.report.Limit), "exit_code", e.report.Code, "signal", int(e.report.Signal), "core", e.report.CorePath,
		"worker", s.worker, "user_time", e.report.UserTime, "system_time", e.report.SysTime, "max_rss_bytes", e.report.MaxRSS,
		"peak_memory_bytes", e.report.PeakMemory, "output", output)
}
