package server

import (
	"context"
	"sync"
	"time"

	"rpcpool.dev/internal/fifo"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/items"
	"rpcpool.dev/rpc/schedule"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// space is how many bytes of arguments a job has room for in itself, and of a
// result: what is short costs no memory of its own.
const space = 128

// Job is one call at its server. It is the handler's context too: done when the
// deadline has come, or nobody waits for the result any more.
//
// A Job is valid until its end has been told (Return, Crash, Decline) and is not
// used again for another call.
type Job struct {
	Method   *Method
	Args     []byte // valid until the end
	Trace    []byte // W3C trace context; nil: none
	Codec    uint8
	Priority frame.Priority
	OneWay   bool // nobody wants the result
	// Idempotent says that its caller minds no other run.
	Idempotent bool
	// Worker is the executor's own.
	Worker any
	// Memory is what the result is in, if the executor wants to have that back. Said before
	// Return, it is released when nobody needs the result any more.
	Memory session.Memory

	core     *Core
	entry    *session.Entry
	xid      session.XID
	as       session.XID   // that its client has given to it; zero: none
	deadline time.Duration // on the core's clock; 0: none
	arrived  time.Duration
	started  time.Duration
	kept     *conn.In // owns Args
	local    *Local   // that runs it
	last     laster   // its connection, whose reader may run it behind all else; mostly nil
	from     *Link    // the same
	reader   *Link    // whose reader runs the job at once
	bare     *Bare    // in a worker: who is told how it ends; else the core is
	seq      uint64   // in a worker: of the call's frames
	place    fifo.Node[*Job]
	granted  chan struct{}  // closed when it may run: of a call within the process
	slot     *schedule.Call // in the queue, and while it runs; nil: it is in neither
	stream   *items.Stream  // nil: it is none
	unstream func()         // the line forgets the stream
	round    *conn.Conn     // see Round
	ending   *conn.Conn     // see EndsIn
	link     *Link          // that has brought it; nil: a call within the process, or in a worker
	loan     *loan          // its blobs; nil: it has none
	account  *account       // at whose cost long results are made; nil: they go in messages
	behind   bool           // the reader of its connection runs it
	denied   bool           // its client may not call the method
	refused  bool           // its start could not be journalled
	unsaved  bool           // its start waits for the journal's disk, or has
	long     bool           // it is in the core's list of those that run for long
	lent     bool           // the host of blobs knows of its run

	mu      sync.Mutex
	err     error // why nobody waits any more
	done    chan struct{}
	timer   *time.Timer
	after   map[*after]struct{}
	scratch [space]byte
	result  [space]byte
}

type after struct{ f func() }

// XID is the call's identity, for handlers that recognise duplicates themselves, and
// for logs: the one that its client has given to it, or the session's.
func (j *Job) XID() session.XID {
	if j.as != (session.XID{}) {
		return j.as
	}
	return j.xid
}

// Client names who calls: the session that the call belongs to.
func (j *Job) Client() session.ID { return j.xid.Session }

// Peer is the client's address, for people.
func (j *Job) Peer() string {
	switch {
	case j.link != nil:
		return j.link.line.Peer()
	case j.bare != nil:
		return "parent"
	}
	return ""
}

// via is the way by which the client calls.
func (j *Job) via() Via {
	if j.link != nil {
		return j.link.via
	}
	return Direct
}

// Scratch is room for a short result, which costs no memory of its own.
func (j *Job) Scratch() []byte { return j.result[:0] }

// Left is the time until the deadline; ok is false if there is none.
func (j *Job) Left() (left time.Duration, ok bool) {
	if j.deadline == 0 {
		return 0, false
	}
	return j.deadline - j.core.now(), true
}

// take makes the job own the arguments. What waits for its turn in a lane may be
// forgotten without a word, so it keeps nothing that must be given back.
func (j *Job) take(in *conn.In, lane bool) {
	switch n := len(in.Body); {
	case n <= len(j.scratch):
		j.Args = j.scratch[:copy(j.scratch[:], in.Body)]
	case n < conn.LongBody || lane:
		j.Args = append([]byte(nil), in.Body...)
	default:
		j.kept = in.Keep()
		j.Args = j.kept.Body
	}
	if len(in.Ext.Trace) > 0 {
		j.Trace = append([]byte(nil), in.Ext.Trace...)
	}
}

// let gives the memory of the arguments back, unless reply is part of it, and forgets the
// stream. It returns the memory that reply is in, nil if that is nobody's.
func (j *Job) let(reply []byte) session.Memory {
	if j.unstream != nil {
		j.unstream()
	}
	memory := j.Memory
	j.Memory = nil
	if memory != nil && len(reply) == 0 {
		memory.Release()
		memory = nil
	}
	if j.kept == nil {
		return memory
	}
	if !overlap(j.Args, reply) {
		j.kept.Release()
	} else if args := j.kept.Detach(); args != nil {
		memory = args
	}
	j.kept = nil
	return memory
}

// Deadline implements [context.Context].
func (j *Job) Deadline() (time.Time, bool) {
	now := time.Now() // before Left looks at the clock: what is made of it must not be late
	left, ok := j.Left()
	if !ok {
		return time.Time{}, false
	}
	return now.Add(left), true
}

// Value implements [context.Context].
func (j *Job) Value(key any) any {
	if key == (jobKey{}) {
		return j
	}
	if key == (wire.TraceKey{}) && j.Trace != nil {
		return j.Trace
	}
	return j.core.opts.Context.Value(key)
}

type jobKey struct{}

// FromContext returns the job that a handler's context belongs to, nil if ctx is
// none of a handler.
func FromContext(ctx context.Context) *Job {
	j, _ := ctx.Value(jobKey{}).(*Job)
	return j
}

// Err implements [context.Context].
func (j *Job) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil && j.deadline != 0 && j.core.now() >= j.deadline {
		j.cancelLocked(context.DeadlineExceeded)
	}
	return j.err
}

// Done implements [context.Context].
func (j *Job) Done() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.done == nil {
		j.done = make(chan struct{})
		if j.err != nil {
			close(j.done)
		}
		j.watch()
	}
	return j.done
}

// watch sees to it that the deadline is noticed.
func (j *Job) watch() {
	if j.timer == nil && j.deadline != 0 && j.err == nil {
		j.timer = time.AfterFunc(j.deadline-j.core.now(), func() { j.cancel(context.DeadlineExceeded) })
	}
}

// AfterFunc calls f when the context is done: contexts that are made of this one need
// no goroutine then.
func (j *Job) AfterFunc(f func()) (stop func() bool) {
	a := &after{f}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		go f()
		return func() bool { return false }
	}
	j.watch()
	if j.after == nil {
		j.after = map[*after]struct{}{}
	}
	j.after[a] = struct{}{}
	return func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		_, there := j.after[a]
		delete(j.after, a)
		return there
	}
}

// cancel ends the context.
func (j *Job) cancel(why error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cancelLocked(why)
}

func (j *Job) cancelLocked(why error) {
	if j.err != nil {
		return
	}
	j.err = why
	if j.done != nil {
		close(j.done)
	}
	if j.timer != nil {
		j.timer.Stop()
	}
	for a := range j.after {
		go a.f()
	}
	j.after = nil
}
