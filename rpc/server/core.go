package server

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"rpcpool.dev/internal/fifo"
	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/schedule"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// Executor runs calls. Its methods must not wait.
type Executor interface {
	// Execute begins a run. It ends with one of the job's core's Return, Decline,
	// Unstarted and Crash.
	Execute(j *Job)
	// Interrupt says that nobody waits for a run any more. Its context is done
	// already. It is called with the core's lock, before the run's end is told.
	Interrupt(j *Job)
}

// Core is a server without its doors and its executor.
type Core struct {
	opts    Options
	exec    Executor
	now     func() time.Duration
	machine *monotonic // nil: there is no such clock, or now is not this one's
	methods methods

	mu       sync.Mutex
	domain   *session.Domain
	queue    *schedule.Queue
	slots    []*schedule.Call // for the next jobs
	limit    int
	links    map[session.Conn]*Link
	lastConn session.Conn
	turns    sync.Pool       // of *turn
	running  fifo.List[*Job] // jobs that run, the oldest first
	long     fifo.List[*Job] // the same, whose clients were told so
	active   int             // jobs that run
	pending  int             // jobs whose start waits for the journal
	draining bool
	idle     chan struct{}   // closed when nothing runs, while draining
	behind   []*turn         // that wait for the journal, in order
	outside  fifo.List[*Job] // calls that wait to run outside of the core
	tallies
	record []byte    // scratch of the journal
	parts  [2][]byte // more of it
	counts Counts
	broken atomic.Pointer[error] // the journal's: what is not idempotent does not run any more

	wake chan struct{} // something waits for the journal
	stop chan struct{}
	over sync.WaitGroup
}

// Counts are what has happened since the core was made, and what there is.
type Counts struct {
	session.DomainCounts
	Calls    [session.Codes][session.Executed + 1]uint64 // runs and refusals that have ended here, by code and execution
	Refusals uint64                                      // of them: calls that were not taken
	Turned   [schedule.Reasons]uint64                    // of these: because of the queue, by its reason
	Drained  uint64                                      // of these: because the server drains
	Unwanted uint64                                      // runs that have ended when nobody waited for them any more
	Sessions int
	Entries  int // calls in the table
	Bytes    int // of replies in the table
	Waiting  int // calls in the queue
	Running  int
}

// New makes a core. Methods are registered, and what the journal holds is restored,
// before the first door is opened. It must be closed.
func New(exec Executor, opts Options) (*Core, error) {
	if opts.Limit < -1 || opts.Queue < 0 || opts.MaxTimeout < 0 {
		return nil, errors.New("bad options of a server: something is negative")
	}
	c := &Core{
		opts: opts, exec: exec, links: map[session.Conn]*Link{},
		methods: methods{byNumber: map[uint32]*Method{}, open: opts.Open},
		wake:    make(chan struct{}, 1), stop: make(chan struct{}),
	}
	o := &c.opts
	switch o.Limit {
	case 0:
		o.Limit = 1024
	case -1:
		o.Limit = 0
	}
	if o.Queue == 0 {
		o.Queue = 4096
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = 256 << 20
	}
	if o.LongBlob == 0 {
		o.LongBlob = LongResult
	}
	if o.NoticeAt == 0 {
		o.NoticeAt = 50 * time.Millisecond
	}
	if o.ReadAfter == 0 {
		o.ReadAfter = readAfter
	}
	if o.QuickApart == 0 {
		o.QuickApart = quickApart
	}
	if o.Context == nil {
		o.Context = context.Background()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if c.now = o.Clock; c.now == nil {
		c.now, c.machine = newClock()
	}
	o.Domain.Journal = o.Journal != nil
	if o.ID == (session.ID{}) {
		_, _ = rand.Read(o.ID[:])
	}
	c.zero = time.Now().Add(-c.now())
	if o.Life == 0 {
		var b [8]byte
		_, _ = rand.Read(b[:])
		o.Life = binary.LittleEndian.Uint64(b[:])
	}
	c.domain = session.NewDomain(o.ID, o.Life, o.Domain)
	c.limit = max(o.Limit, 0)
	c.queue = schedule.New(schedule.Options{Limit: c.limit, Queue: o.Queue, QueueBytes: o.QueueBytes, Standing: o.Standing})
	c.queue.SetLimit(c.limit)
	if err := c.restore(); err != nil {
		return nil, err
	}
	c.over.Go(c.tick)
	if o.Sync {
		c.over.Go(c.sync)
	}
	return c, nil
}

// Register adds a method. It fails if there is one of that name already.
func (c *Core) Register(m Method) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.methods.add(m); err != nil {
		return err
	}
	c.name(c.methods.named(m.Name))
	c.queue.Method(numberOf(m.Name), schedule.MethodOptions{Concurrency: m.Concurrency})
	return nil
}

// Methods returns the names of those that are registered, or were called.
func (c *Core) Methods() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make([]string, 0, len(c.methods.byNumber))
	for _, m := range c.methods.byNumber {
		names = append(names, m.Name)
	}
	return names
}

// Method returns what a name stands for, nil if there is no such method.
func (c *Core) Method(name string) *Method { return c.method(name, (*methods).named) }

func (c *Core) method(name string, of func(*methods, string) *Method) *Method {
	c.mu.Lock()
	defer c.mu.Unlock()
	return of(&c.methods, name)
}

// Call makes a message of a call that has come, for [Link.Receive]. method may be
// nil: there is no such method. It fails if its blobs are malformed.
func (l *Link) Call(in *conn.In, m *session.Message, method *Method) error {
	c := l.core
	if method != nil && method.stray {
		method = l.Method(method.Name) // it may be called by now
	}
	j := &Job{Method: method, Codec: in.Codec, Priority: in.Priority, OneWay: in.Flags&frame.FlagOneWay != 0, core: c, link: l, Idempotent: m.Idempotent}
	j.place.Value = j
	j.take(in, m.Lane != 0 || m.Needs != nil)
	j.as = parseXID(in.Ext.XID)
	j.denied = method != nil && (method.stray || !l.mayCall(method.Name))
	m.Method = 0
	if method != nil {
		m.Method, m.Recorded, m.Runs = method.number, method.Recorded, method.Runs
	}
	if most := c.Longest(method); most > 0 {
		if until := c.now() + most; m.Time == 0 || m.Time > until {
			m.Time = until
		}
	}
	m.Sum, m.Exact = c.sum(j.Args)
	if in.Ext.Blobs > 0 {
		if err := j.takeBlobs(in.Ext.Blobs); err != nil {
			return err
		}
	}
	if m.Needs != nil { // the arguments are others if the results of others are in them
		m.Sum ^= bits.RotateLeft64(xxhash.Sum64(in.Ext.Needs), 1)
	}
	m.Body, m.Tag = j.Args, j
	return nil
}

// enqueue puts a call into the queue, or refuses it.
func (c *Core) enqueue(t *turn, e *session.Entry) {
	j := jobOf(e)
	if j.entry == nil {
		j.entry, j.xid, j.deadline, j.arrived = e, e.XID(), e.Deadline, t.now
	}
	switch {
	case j.Method == nil:
		c.refuse(t, j, session.Unimplemented, -time.Millisecond, "there is no such method")
	case j.denied:
		c.refuse(t, j, session.Denied, -time.Millisecond, "the client may not call the method")
	case j.as != (session.XID{}) && !j.Method.Recorded:
		c.refuse(t, j, session.Invalid, -time.Millisecond, "the method keeps no record of what it has done: it must not be called again with the same id")
	case j.Idempotent && j.Method.Once:
		c.refuse(t, j, session.Invalid, -time.Millisecond, notIdempotent)
	case c.draining:
		c.counts.Drained++
		c.refuse(t, j, session.Refused, 0, "server is draining")
	case e.Needy() && !c.supply(t, j):
	default:
		if v := c.push(t.now, j); v.Reason != schedule.Queued {
			c.turnAway(t, j, v)
		}
	}
}

// notIdempotent is why a call is refused that says that it is.
const notIdempotent = "the method is not declared idempotent"

// refuse ends a call that has not started. retry is when another attempt may do better.
func (c *Core) refuse(t *turn, j *Job, code session.Code, retry time.Duration, why string) {
	c.counts.Refusals++
	c.ended(j, code, session.NotExecuted)
	j.let(nil)
	t.fx = c.domain.Refuse(j.entry, code, wire.Failure(retry, why, nil), t.fx)
}

// execute starts a run, if it is still to start.
func (c *Core) execute(t *turn, e *session.Entry) {
	j := jobOf(e)
	if j.refused {
		j.refused = false
		c.counts.Refusals++
		c.ended(j, session.Refused, session.NotExecuted)
		e.Unwritten()
		t.fx = c.domain.Decline(e, session.Refused, wire.Failure(time.Second, c.whyNot(), nil), t.fx)
		c.unpop(j)
		j.let(nil)
		return
	}
	var start bool
	if start, t.fx = c.domain.Start(t.now, e, t.fx); !start {
		c.missed(j)
		c.unpop(j)
		j.let(nil)
		return
	}
	c.run(t, j)
	t.runs = append(t.runs, j)
}

// whyNot says why a start was not journalled, for people.
func (c *Core) whyNot() string {
	if err := c.Broken(); err != nil {
		return err.Error()
	}
	return "the journal takes no more"
}

// run counts a job among those that run. It may have run before, when a reader had brought it.
func (c *Core) run(t *turn, j *Job) {
	j.started = t.now
	j.reader, j.last, j.from, j.round = nil, nil, nil, nil
	c.running.PushBack(&j.place)
	c.active++
}

// finished is what every end of a run has in common. ran is false if it was none after all.
func (c *Core) finished(now time.Duration, j *Job, ran bool) {
	if ran {
		c.timed(now, j)
		if j.local == nil {
			j.Method.pace.took(now-j.started, c.opts.QuickApart)
		}
	}
	if j.long {
		c.long.Remove(&j.place)
	} else {
		c.running.Remove(&j.place)
	}
	j.long = false
	c.active--
	c.queue.Done(now, j.slot)
	c.vacate(j)
	c.quiet()
}

// quiet tells who drains the core that nothing runs or is about to.
func (c *Core) quiet() {
	if c.idle != nil && c.active+c.pending == 0 {
		close(c.idle)
		c.idle = nil
	}
}

// Return says that the handler has returned a result, or an error. [session.Invalid]
// says that the arguments were none, so that it did not run; [session.Lost] that nobody
// knows whether the call has taken place.
func (c *Core) Return(j *Job, code session.Code, reply []byte) {
	j.cancel(context.Canceled)
	if j.OneWay && code == session.OK {
		reply = nil
	}
	if j.stream != nil {
		code, reply = j.closeStream(code, reply)
	}
	code, reply, blobs := j.returned(code, reply)
	memory := j.let(reply)
	t := c.begin(j.reader)
	if t.round = j.ending; j.behind {
		t.behind = j.from
	}
	if j.entry.Memory = memory; blobs > 0 {
		if j.entry.Blobs = blobs; j.entry.Unwanted() {
			defer c.discard(reply, blobs)
		}
	}
	c.cutShort(t, j)
	c.finished(t.now, j, code != session.Invalid)
	if code == session.Canceled && !j.entry.Canceled() || code == session.DeadlineExceeded && j.deadline == 0 {
		code = session.Failed // a server that is closed has ended its context, and nobody else
	}
	if j.entry.Unwanted() {
		c.counts.Unwanted++
	}
	switch code {
	case session.Invalid:
		c.ended(j, code, session.NotExecuted)
		t.fx = c.domain.Decline(j.entry, code, reply, t.fx)
	case session.Lost:
		c.ended(j, code, session.Indeterminate)
		t.fx = c.domain.Doubt(j.entry, code, reply, t.fx)
	default:
		c.ended(j, code, session.Executed)
		t.fx = c.domain.Return(j.entry, code, reply, t.fx)
	}
	c.end(t)
}

// Decline says that a run did not take place: its worker cannot run such a call.
func (c *Core) Decline(j *Job, code session.Code, reply []byte) {
	j.cancel(context.Canceled)
	_, _, _, _ = j.unlend(blob.Failed, nil)
	memory := j.let(reply)
	t := c.begin(nil)
	j.entry.Memory = memory
	t.round = j.ending
	c.finished(t.now, j, false)
	c.ended(j, code, session.NotExecuted)
	t.fx = c.domain.Decline(j.entry, code, reply, t.fx)
	c.end(t)
}

// Unstarted says that a run did not begin, because its worker had died before anything
// of the call reached it. It is queued again.
func (c *Core) Unstarted(j *Job) {
	_, _, _, _ = j.unlend(blob.Failed, nil)
	t := c.begin(nil)
	c.finished(t.now, j, false)
	t.fx = c.domain.Unstarted(j.entry, t.fx)
	c.again(t, j)
	c.end(t)
}

// Crash says that the worker of a run has died. report is for the caller; guilty says
// that it was likely this call that killed it. It is queued again if it is idempotent
// and has not been run too often, unless it has left a blob half written.
func (c *Core) Crash(j *Job, guilty bool, report []byte) {
	if guilty && j.lent && j.loan != nil { // so long as its arguments are there
		c.exact(j)
	}
	_, _, dirty, _ := j.unlend(blob.Crashed, nil)
	t := c.begin(nil)
	if dirty {
		j.entry.Last()
	}
	c.cutShort(t, j)
	c.finished(t.now, j, true)
	c.ended(j, session.Crashed, session.Indeterminate)
	t.fx = c.domain.Crash(t.now, j.entry, guilty, report, t.fx)
	c.again(t, j)
	c.end(t)
}

// again lets go of a job whose run has ended, unless there is to be another.
func (c *Core) again(t *turn, j *Job) {
	if n := len(t.fx); n > 0 && t.fx[n-1].Do == session.Queue && t.fx[n-1].Entry == j.entry {
		return
	}
	j.cancel(context.Canceled)
	j.let(nil)
}

// tick is the core's clock: leases, and notices to those who wait for long.
func (c *Core) tick() {
	notices := time.NewTicker(c.opts.NoticeAt / 2)
	defer notices.Stop()
	leases := time.NewTicker(time.Second)
	defer leases.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-notices.C:
			c.notice()
		case <-leases.C:
			t := c.begin(nil)
			t.fx = c.domain.Tick(t.now, t.fx)
			c.end(t)
		}
	}
}

// notice tells clients of calls that have been running for long.
func (c *Core) notice() {
	c.mu.Lock()
	none := c.running.Len() == 0
	c.mu.Unlock()
	if none {
		return
	}
	t := c.begin(nil)
	for j := c.running.Front(); j != nil && t.now-j.started >= c.opts.NoticeAt; j = c.running.Front() {
		c.running.Remove(&j.place)
		c.long.PushBack(&j.place)
		j.long = true
		if j.entry != nil {
			t.fx = c.domain.Notice(j.entry, t.fx)
		}
	}
	c.end(t)
}

// Counts returns what there is, and what has happened.
func (c *Core) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts
	n.DomainCounts = c.domain.Counts
	n.Sessions = c.domain.Sessions()
	n.Entries, n.Bytes = c.domain.Entries()
	n.Waiting, n.Running = c.queue.Depth().Waiting, c.active
	return n
}

// Pardon lets a method be called again with arguments that have killed too many
// workers.
func (c *Core) Pardon(method string, args []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.domain.Pardon(numberOf(method), xxhash.Sum64(args))
}

// Close stops the core's clock. Its doors and its executor are closed before.
func (c *Core) Close() error {
	c.mu.Lock()
	select {
	case <-c.stop:
		c.mu.Unlock()
		return nil
	default:
		close(c.stop)
	}
	c.mu.Unlock()
	c.over.Wait()
	return nil
}
