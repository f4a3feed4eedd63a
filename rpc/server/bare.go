package server

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/items"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// Bare is a door without a core: it runs what its only client calls, at once, and
// keeps no table. It is what a worker has, whose parent is the client, knows what has
// been called, and calls no more at a time than the worker is to run. It is the
// handler of one [conn.Conn].
type Bare struct {
	local *Local
	core  *Core // has no table: it is the jobs' clock, their values and the methods

	mu    sync.Mutex
	peer  conn.Peer
	bound map[uint32]*Method // by the parent's number; nil: there is none of that name
	open  map[uint64]*Job
	early map[uint64]bool // calls that were cancelled and are not open: they may still come
	order []uint64        // the same, and those that have come, in the order of their CANCELs; a ring when it is full
	ahead int             // how many there were
}

// earlyMost is how many CANCELs that came for no open call are remembered: that call has ended,
// or was overtaken and is still to come. No parent has so many calls on their way.
const earlyMost = 4096

var _ conn.Handler = (*Bare)(nil)

// NewBare makes a door that runs calls by l. Handlers find the values of ctx in
// theirs.
func NewBare(ctx context.Context, l *Local, list ...Method) (*Bare, error) {
	c := &Core{opts: Options{Context: ctx}, methods: methods{byNumber: map[uint32]*Method{}}}
	c.now, c.machine = newClock()
	for _, m := range list {
		if err := c.methods.add(m); err != nil {
			return nil, err
		}
	}
	return &Bare{local: l, core: c, bound: map[uint32]*Method{}, open: map[uint64]*Job{}, early: map[uint64]bool{}}, nil
}

// Message implements [conn.Handler].
func (b *Bare) Message(p conn.Peer, in *conn.In) {
	if b.item(p, in) {
		return
	}
	switch in.Type {
	case frame.TypeBind:
		b.mu.Lock()
		b.bound[uint32(in.Seq)] = b.core.methods.named(string(in.Body))
		b.mu.Unlock()
	case frame.TypeCall:
		b.call(p, in)
	case frame.TypeCancel:
		b.cancel(in.Seq)
	}
}

// call starts a call, unless its parent has changed its mind.
func (b *Bare) call(p conn.Peer, in *conn.In) {
	j := &Job{
		Codec: in.Codec, Priority: in.Priority, OneWay: in.Flags&frame.FlagOneWay != 0, Idempotent: in.Flags&frame.FlagIdempotent != 0,
		core: b.core, bare: b, seq: in.Seq,
	}
	j.xid = parseXID(in.Ext.XID)
	j.deadline = b.deadline(in)
	if in.Flags&frame.FlagStream != 0 {
		j.stream = items.New(p, items.Server, in.Seq, frame.PriorityNormal)
	}
	b.mu.Lock()
	b.peer = p
	j.Method = b.bound[in.Ext.Method]
	unwanted := b.wasCanceled(in.Seq)
	once := j.Idempotent && j.Method != nil && j.Method.Once
	if j.Method != nil && !unwanted && !once {
		b.open[in.Seq] = j
	}
	b.mu.Unlock()
	switch {
	case unwanted:
		b.refuse(j, session.Canceled, "cancelled before it came")
	case j.Method == nil:
		b.refuse(j, session.Unimplemented, "the worker has no such method")
	case once:
		b.refuse(j, session.Invalid, notIdempotent)
	default:
		j.take(in, false)
		if err := j.takeBlobs(in.Ext.Blobs); err != nil {
			j.let(nil)
			b.refuse(j, session.Invalid, err.Error())
			return
		}
		j.last, _ = p.(laster)
		b.local.Execute(j)
	}
}

// deadline is a call's, on the core's clock, 0 if it has none. The time that is left may
// have been said a while ago, if this process was stopped, or had to wait for a
// processor; the parent says when it is over on the machine's clock only if both
// processes have that.
func (b *Bare) deadline(in *conn.In) time.Duration {
	left, ok := in.Deadline.Duration()
	if !ok {
		return 0
	}
	at := b.core.now() + left
	if m := b.core.machine; m != nil && in.Ext.Until != 0 {
		at = min(at, time.Duration(in.Ext.Until&(1<<63-1))-m.most)
	}
	return max(at, 1)
}

// item tells whether a frame belongs to a stream that has been started, and sees to it.
func (b *Bare) item(p conn.Peer, in *conn.In) bool {
	if !ofStream(in) {
		return false
	}
	b.mu.Lock()
	j := b.open[in.Seq]
	b.mu.Unlock()
	if j == nil || j.stream == nil {
		return true // of a stream that has ended
	}
	if err := j.stream.Message(in); err != nil {
		if c, ok := p.(*conn.Conn); ok {
			go c.Close() //nolint:errcheck // it is over
		}
	}
	return true
}

// parseXID is an extension of a CALL, zero if it is not there.
func parseXID(b []byte) (x session.XID) {
	if len(b) == frame.XIDLen {
		x.Seq = binary.LittleEndian.Uint64(b[copy(x.Session[:], b):])
	}
	return x
}

// wasCanceled tells whether a call's CANCEL has come before it.
func (b *Bare) wasCanceled(seq uint64) bool {
	was := b.early[seq]
	delete(b.early, seq)
	return was
}

func (b *Bare) cancel(seq uint64) {
	b.mu.Lock()
	j := b.open[seq]
	if j == nil {
		b.remember(seq)
	}
	b.mu.Unlock()
	if j != nil {
		j.cancel(context.Canceled)
	}
}

// remember notes a CANCEL that may have overtaken its CALL. It is called with the lock.
func (b *Bare) remember(seq uint64) {
	if len(b.order) < earlyMost {
		b.order = append(b.order, seq)
	} else {
		oldest := &b.order[b.ahead%earlyMost]
		delete(b.early, *oldest)
		*oldest = seq
	}
	b.ahead++
	b.early[seq] = true
}

// answer says how a run has ended; ran is false if it did not begin.
func (b *Bare) answer(j *Job, ran bool, code session.Code, reply []byte) {
	j.cancel(context.Canceled)
	b.mu.Lock()
	delete(b.open, j.seq)
	b.mu.Unlock()
	if j.OneWay && code == session.OK {
		reply = nil
	}
	if j.stream != nil {
		code, reply = j.closeStream(code, reply)
	}
	var owner conn.Releaser
	if j.kept != nil && overlap(j.Args, reply) {
		owner = j.kept // the arguments, or a part of them, are the result
		j.kept = nil
	}
	j.let(nil)
	execution := session.Executed
	switch {
	case !ran, code == session.Invalid, code == session.Refused:
		execution = session.NotExecuted
	case code == session.Lost:
		execution = session.Indeterminate
	}
	if code == session.OK && j.loan != nil && len(j.loan.results) > 0 {
		reply = append(blob.AppendArgs(nil, j.loan.results), reply...)
	}
	b.tell(j, code, execution, reply, owner)
}

func (b *Bare) refuse(j *Job, code session.Code, why string) {
	b.tell(j, code, session.NotExecuted, wire.Failure(0, why, nil), nil)
}

// tell sends an answer. All are of one priority, and so in order; that of what a
// reader runs is written when it has handled all that came.
func (b *Bare) tell(j *Job, code session.Code, ran session.Execution, reply []byte, owner conn.Releaser) {
	f := conn.Message{Owner: owner}
	wire.Response(&session.Message{Kind: session.Reply, Seq: j.seq, Code: code, Execution: ran, Body: reply}, &f)
	f.Priority = frame.PriorityNormal
	if f.Type == frame.TypeReply {
		if f.Codec = j.Codec; code == session.OK && j.loan != nil {
			f.Ext.Blobs = uint8(len(j.loan.results))
		}
	}
	send := b.peer.TrySend
	if j.Method == nil || j.Method.Inline || j.behind {
		send = b.peer.Queue
	}
	err := send(&f)
	if err != nil && owner != nil {
		owner.Release()
	}
	if errors.Is(err, conn.ErrTooLong) { // else the parent is gone
		lost := tooLong(&session.Message{Seq: j.seq, Body: reply})
		f = conn.Message{}
		wire.Response(&lost, &f)
		_ = send(&f)
	}
}

// Aside runs f, which waits for other calls, without counting j among those that run:
// another may run meanwhile, so a call that leads back to its own server does not wait
// for itself.
func (j *Job) Aside(f func()) {
	if b := j.bare; b != nil {
		say := func(t frame.Type) {
			_ = b.peer.TrySend(&conn.Message{Header: frame.Header{Type: t, Seq: j.seq}})
		}
		say(frame.TypeInProgress)
		defer say(frame.TypeStarted)
	} else {
		j.core.Grow(1)
		defer j.core.Grow(-1)
	}
	f()
}

// Closed implements [conn.Handler]: nobody waits for anything any more.
func (b *Bare) Closed(conn.Peer, error, []uint64) {
	b.mu.Lock()
	left := make([]*Job, 0, len(b.open))
	for _, j := range b.open {
		left = append(left, j)
	}
	b.mu.Unlock()
	for _, j := range left {
		if j.stream != nil {
			j.stream.Break(conn.ErrCut)
		}
		j.cancel(context.Canceled)
	}
}
