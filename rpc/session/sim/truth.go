package sim

import (
	"fmt"
	"slices"

	"rpcpool.dev/rpc/session"
)

// call is one call and all that has become of it.
type call struct {
	id      int
	program *program
	client  *session.Client
	inv     session.Invocation
	once    bool // it is not idempotent
	noRetry bool // it is to be sent once
	poison  bool // kills every worker
	routes  int
	at      *seat   // where it was last
	needs   []*call // whose results it needs
	depth   int     // of the chain that it ends
	promise *session.Promise

	sendings         int    // by how many connections it has left its program
	unsent           int    // by how many it has not, which have taken it
	unwanted         bool   // its caller does not want it any more
	behind           bool   // when it came, a call of its lane ran on in a session that its client had left
	asked            bool   // its client asks of its own accord what has become of it
	issued, finished uint64 // when, by the order of events
	done             bool
	orphan           bool // its program is gone: nobody was told how it ended
	starts           []*start
}

func (c *call) String() string {
	s := fmt.Sprintf("call %d", c.id)
	if !c.once {
		s += ", idempotent"
	}
	if c.noRetry {
		s += ", to be sent once"
	}
	if c.inv.Lane != 0 {
		s += fmt.Sprintf(", lane %d", c.inv.Lane)
	}
	return s
}

// start is one run of a handler.
type start struct {
	server    *server
	life      uint64
	xid       session.XID
	at        uint64
	over      bool
	completed bool
	reply     []byte // once it has completed
}

// relation is a client and a server that it calls, whatever sessions they have.
type relation struct {
	client *session.Client
	server *server
}

// laneKey is a lane as it is ordered: within one session. That its calls do not overlap holds for all
// sessions of a client at one server.
type laneKey struct {
	session session.ID
	lane    uint64
}

// sending is when a call was sent, and whether its client had other sessions with the server then,
// which went on.
type sending struct {
	at     uint64
	beside bool
}

// truth is what has really happened, as an observer outside of all nodes sees it,
// and which promises that breaks.
type truth struct {
	r      *run
	calls  []*call
	byInv  map[*session.Invocation]*call
	newest map[relation]uint64     // when the newest call was made of those that have come
	lanes  map[laneKey]*start      // the last run
	first  map[session.XID]sending // of calls in lanes, when they were sent first
	broken []string
}

func newTruth(r *run) *truth {
	return &truth{
		r: r, byInv: map[*session.Invocation]*call{},
		newest: map[relation]uint64{}, lanes: map[laneKey]*start{},
		first: map[session.XID]sending{},
	}
}

func (t *truth) of(i *session.Invocation) *call { return t.byInv[i] }

func (t *truth) broke(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	t.r.w.logf("BROKEN: %s", what)
	t.broken = append(t.broken, what)
}

// sent notes that a call has left its program.
func (t *truth) sent(c *call) {
	if c.sendings++; c.noRetry && c.sendings > 1 {
		t.broke("call %d is sent for the second time", c.id)
	}
}

// received notes that a server has read a call.
func (t *truth) received(c *call, s *server) {
	at := relation{c.client, s}
	t.newest[at] = max(t.newest[at], c.issued)
	xid := c.inv.XID()
	c.behind = c.behind || c.inv.Lane != 0 && !t.first[xid].beside && t.inLane(c, s, xid) != nil
}

// inLane is a run of a call that goes on in the same lane, at the same server, as a call of this
// identity: of another session, if there is one. It is nil if there is none.
func (t *truth) inLane(c *call, s *server, xid session.XID) *start {
	var same *start
	for _, other := range t.calls {
		if other.client != c.client || other.inv.Lane != c.inv.Lane {
			continue
		}
		for _, x := range other.starts {
			switch {
			case x.over || x.server != s:
			case x.xid.Session != xid.Session:
				return x
			default:
				same = x
			}
		}
	}
	return same
}

// started checks what must hold whenever a handler starts.
func (t *truth) started(s *server, xid session.XID, c *call, given []byte) *start {
	t.supplied(c, given)
	x := &start{server: s, life: s.life, xid: xid, at: t.r.w.n}
	if c.inv.Lane != 0 {
		t.ordered(c, x)
	}
	c.starts = append(c.starts, x)
	if len(c.starts) > 1 && c.once {
		t.broke("call %d runs for the second time", c.id)
	}
	if c.done && !c.orphan {
		if c.inv.Outcome.Code == session.DeadlineExceeded {
			t.broke("call %d starts after its deadline", c.id)
		}
		if c.inv.Outcome.Fenced {
			t.broke("call %d starts although its server was dead", c.id)
		}
		if t.newest[relation{c.client, s}] > c.finished {
			t.broke("call %d starts although it had ended before a later call was made that has come", c.id)
		}
	}
	return x
}

// ordered checks what must hold when a call in a lane starts.
func (t *truth) ordered(c *call, x *start) {
	key := laneKey{x.xid.Session, c.inv.Lane}
	if last := t.lanes[key]; last != nil && last.xid.Seq > x.xid.Seq {
		t.broke("call %d starts after a later call of its lane", c.id)
	}
	t.lanes[key] = x
	switch other := t.inLane(c, x.server, x.xid); {
	case other == nil:
	case other.xid.Session == x.xid.Session:
		t.broke("call %d starts while another call of its lane runs", c.id)
	case !t.beside(x.xid, other.xid):
		t.broke("call %d starts while another call of its lane runs on in a session that was left", c.id)
	default:
		t.r.cover.events[lanesBeside]++
	}
	if c.behind {
		t.r.cover.events[lanesBehind]++
	}
}

// beside tells whether two calls of different sessions were sent while both went on.
func (t *truth) beside(one, other session.XID) bool {
	a, b := t.first[one], t.first[other]
	return a.beside && a.at >= b.at || b.beside && b.at >= a.at
}

// ended notes that a program was told how a call has ended.
func (t *truth) ended(c *call) {
	if c.done {
		t.broke("call %d ends for the second time", c.id)
	}
	c.done, c.finished = true, t.r.w.n
	o := c.inv.Outcome
	t.late(c)
	if o.Fenced && slices.ContainsFunc(c.starts, func(x *start) bool { return !x.over }) {
		t.broke("call %d runs although its server is dead", c.id)
	}
	t.r.cover.outcomes[o.Execution]++
	t.r.cover.once(c)
	if o.Code == session.Unmet {
		t.unmet(c)
	} else {
		t.r.cover.codes[o.Code]++
	}
	t.r.w.logf("program %d: call %d: %s, %s", c.program.name, c.id, o.Code, o.Execution)
	if o.Code == session.OK && o.Execution != session.Executed {
		t.broke("call %d has a result, and is said to be %s", c.id, o.Execution)
	}
	if o.Code == session.OK && !t.r.app.reply(c, o.Reply) {
		t.broke("call %d got the reply of another call", c.id)
	}
}

// late checks that a call does not outlive its deadline and the grace after it.
func (t *truth) late(c *call) {
	if p := c.program; c.inv.Deadline != 0 {
		if due := max(p.clock.until(c.inv.Deadline), p.stopped) + graceMost; t.r.w.now > due {
			t.broke("call %d ends %s too late", c.id, t.r.w.now-due)
		}
	}
}

// judge checks what can only be known in the end.
func (t *truth) judge() {
	for _, c := range t.calls {
		switch {
		case !c.done:
			t.broke("call %d waits for ever", c.id)
		case !c.orphan:
			t.truthful(c)
		}
	}
}

// truthful checks that what was said of an execution is true.
func (t *truth) truthful(c *call) {
	completed := 0
	for _, x := range c.starts {
		if x.completed {
			completed++
		}
	}
	switch c.inv.Outcome.Execution {
	case session.NotExecuted:
		if len(c.starts) > 0 {
			t.broke("call %d is said to be NotExecuted, and ran", c.id)
		}
	case session.Executed:
		if completed == 0 || c.once && completed != 1 {
			t.broke("call %d is said to be Executed, and completed %d times", c.id, completed)
		}
	case session.Indeterminate: // that it did not run twice is checked when it starts
	}
}
