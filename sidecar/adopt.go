package sidecar

import (
	"encoding/json"
	"fmt"
	"time"

	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tvm"
)

// This file is about sessions that an earlier sidecar began: the worker has the
// socket and the agent the deadline, so they go on; the next sidecar reports the
// device as busy, watches the client again, and tells it how its session ended.

// memo is what a sidecar leaves with the agent for its successor.
type memo struct {
	Flavour string `json:"flavour"`
	Clamped bool   `json:"clamped,omitempty"`
}

func (c *core) memo(s *session) string {
	b, err := json.Marshal(memo{Flavour: c.flavour.String(), Clamped: s.clamped})
	if err != nil {
		return ""
	}
	return string(b)
}

// inherited is a session of an earlier sidecar, as far as it left word of it.
func inherited(worker string, spec *supervise.Session, age time.Duration, now time.Time) *session {
	s := &session{
		id: spec.ID, client: spec.Client, timeout: spec.Timeout,
		began: now.Add(-age), handed: now.Add(-age), worker: worker, foreign: true, unwatch: func() {},
	}
	s.oomBefore, s.oomKnown = supervise.OOMKills()
	var m memo
	if json.Unmarshal([]byte(spec.Memo), &m) == nil {
		s.clamped = m.Clamped
		s.flavour, _ = tvm.ParseFlavour(m.Flavour)
	}
	return s
}

// adopted is a session in progress.
func adopted(w supervise.HelloWorker, now time.Time) *session {
	return inherited(w.ID, w.Session, w.Age, now)
}

// adopt takes the descriptor of the session in progress.
func (c *core) adopt(e supervise.Event) {
	s := c.current
	if s == nil || s.worker != e.Worker || !s.foreign {
		supervise.CloseFD(e.FD)
		return
	}
	c.takeSocket(s, e.FD)
	if s.socket == nil {
		return
	}
	if err := c.watch(s); err != nil {
		c.options.Logger.Warn("cannot watch the client", "session", s.id, "error", err)
	}
	c.options.Logger.Info("session of an earlier sidecar goes on", "session", s.id, "client", s.client)
}

// takeSocket gives an adopted session the descriptor that came for it.
func (c *core) takeSocket(s *session, fd int) {
	if fd < 0 || s.socket != nil {
		supervise.CloseFD(fd)
		return
	}
	socket, err := takeSocket(fd)
	if err != nil {
		c.options.Logger.Warn("session's descriptor is of no use", "session", s.id, "error", err)
		return
	}
	s.socket = socket
}

// finishLate puts a session on record, and tells its client, that ended while
// there was no sidecar.
func (c *core) finishLate(e supervise.Event, r supervise.Report, now time.Time) {
	s := inherited(e.Worker, e.Session, r.Wall, now)
	c.takeSocket(s, e.FD)
	c.conclude(s, r, now)
}

// lostAgent is the report of a session whose agent died. kills is what
// [supervise.OOMKills] says now, limit the memory that the agent's container may
// use.
func (s *session) lostAgent(kills uint64, known bool, limit int64) supervise.Report {
	r := supervise.Report{
		Cause: supervise.CauseCrashSignal, Code: -1,
		Error: "the process above the worker died, and the worker with it",
	}
	switch {
	case s.overdue != "":
		r.Cause, r.Error = s.overdue, "the process above the worker did not answer, and was given up"
	case limit > 0 && known && s.oomKnown && kills > s.oomBefore:
		// Nothing is left in the device's container that could say so: where its
		// memory group is killed as one, the agent dies with its worker. Without a
		// limit it cannot have been that: what runs out of the machine's memory
		// is a worker, which is marked to be killed before the agent.
		r.Cause, r.Limit = supervise.CauseOOM, supervise.LimitMemory
		r.Error = fmt.Sprintf("everything in the device's container, which may use %d MiB, died while the kernel killed for lack of memory", limit>>20)
	}
	return r
}
