package server

import (
	"net"
	"time"

	"rpcpool.dev/internal/durations"
	"rpcpool.dev/rpc/session"
)

// Via is the way by which a call has come.
type Via uint8

// Ways.
const (
	Direct Via = iota // from this process
	Unix
	TCP // with TLS or without
	GRPC
	Vias // is their number
)

// String is the word, as in metrics.
func (v Via) String() string { return [...]string{"direct", "unix", "tcp", "grpc"}[v] }

func viaOf(a net.Addr) Via {
	if a.Network() == "unix" {
		return Unix
	}
	return TCP
}

const (
	// MostNamed is how many methods are counted apart, so that metrics of them are bounded.
	MostNamed = 64
	// OtherMethods is the name under which the others are counted together.
	OtherMethods = "other"
)

// Ends are how often calls have ended, by code and by whether they ran.
type Ends [session.Codes][session.Executed + 1]uint64

// Tally is what has become of the calls of one method, or of several.
type Tally struct {
	Method string // empty: all that are not counted apart
	Ends   [Vias]Ends
	Waited Times // from arrival to start, of runs
	Took   Times // from start to end, of runs
}

// Times are how long something took.
type Times struct {
	durations.Histogram
	Last [durations.Bounds + 1]Example // of each of Counts
}

// Example is one of the calls that were counted.
type Example struct {
	XID  session.XID // zero: there is none
	Took time.Duration
	At   time.Time
}

// tally is a Tally whose parts are made when they are needed.
type tally struct {
	ends         [Vias]*Ends
	waited, took times
}

type times struct {
	durations.Histogram
	last [durations.Bounds + 1]example
}

type example struct {
	xid      session.XID
	took, at time.Duration
}

func (t *times) add(took, at time.Duration, xid session.XID) {
	t.Add(took)
	t.last[durations.Place(took)] = example{xid, took, at}
}

// tallies are what has become of all calls.
type tallies struct {
	named  []*Method // those that are counted apart
	others tally
	zero   time.Time // when the clock was 0
}

// name counts a method apart from now on, if there are not too many.
func (c *Core) name(m *Method) {
	if m != nil && m.tally == nil && len(c.named) < MostNamed {
		m.tally = new(tally)
		c.named = append(c.named, m)
	}
}

// of is where a call is counted.
func (c *Core) of(m *Method) *tally {
	if m == nil || m.tally == nil {
		return &c.others
	}
	return m.tally
}

// ended counts the end of a call, or of one of its runs.
func (c *Core) ended(j *Job, code session.Code, ran session.Execution) {
	c.counts.Calls[code][ran]++
	t := c.of(j.Method)
	via := j.via()
	if t.ends[via] == nil {
		t.ends[via] = new(Ends)
	}
	t.ends[via][code][ran]++
}

// missed counts a call that was in the queue, and must not start any more: its deadline has
// passed, or its client does not want it.
func (c *Core) missed(j *Job) {
	code, ran, known := j.entry.Ended()
	if !known {
		code, ran = session.Canceled, session.NotExecuted
	}
	c.ended(j, code, ran)
}

// timed counts how long a run has waited and taken. A method that was not registered is known
// to be one now.
func (c *Core) timed(now time.Duration, j *Job) {
	c.name(j.Method)
	t := c.of(j.Method)
	t.waited.add(max(j.started-j.arrived, 0), now, j.xid)
	t.took.add(now-j.started, now, j.xid)
}

// Tallies returns what has become of calls, by method: those that were registered, or have run.
// The last is that of all others.
func (c *Core) Tallies() []Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Tally, 0, len(c.named)+1)
	for _, m := range c.named {
		all = append(all, c.told(m.Name, m.tally))
	}
	return append(all, c.told("", &c.others))
}

func (c *Core) told(method string, t *tally) Tally {
	all := Tally{Method: method, Waited: c.tell(&t.waited), Took: c.tell(&t.took)}
	for v, ends := range t.ends {
		if ends != nil {
			all.Ends[v] = *ends
		}
	}
	return all
}

func (c *Core) tell(t *times) Times {
	told := Times{Histogram: t.Histogram}
	for i, e := range t.last {
		if e.xid != (session.XID{}) {
			told.Last[i] = Example{e.xid, e.took, c.zero.Add(e.at)}
		}
	}
	return told
}
