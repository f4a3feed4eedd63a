package server

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// LongResult is the length, in bytes, from which on a result may be made in a blob: if its caller
// has an account, and does not want only longer ones there.
const LongResult = 64 << 10

// Host is the host of blobs of a server, as far as its calls go.
type Host interface {
	// Begin lends a call its arguments, End ends that: see [blob.Table].
	Begin(call blob.Call, callee blob.PartyID, args []blob.Arg) ([]blob.Arg, error)
	End(call blob.Call, outcome blob.Outcome, made []blob.Handle) (blob.Ended, error)
	// Room lends a call that has begun room for a result that there may be; its length is 0 if there is none to be had.
	Room(call blob.Call, callee blob.PartyID, account blob.Handle, size uint64) (blob.Arg, error)
	// Look shows the bytes of an argument that Begin has returned, until the loan ends.
	Look(a blob.Arg, at func(bytes []byte))
	// Discard lets a result go that its owner does not come to know of.
	Discard(result blob.Handle)
	// Offer lets a client in, until it is revoked.
	Offer(client string) (o frame.BlobOffer, revoke func())
}

// Callee is a party that calls may be lent something: this process, where it runs calls.
type Callee interface {
	Party() blob.PartyID
	// Argument finds what a call has lent it. It is to be closed before the call ends.
	Argument(call blob.Call, a blob.Arg) (blob.View, error)
	// Result makes a result of that many bytes for a call's caller. It is to be closed, too.
	Result(call blob.Call, size uint64) (blob.Arg, blob.View, error)
}

// loan is what a job has of blobs.
type loan struct {
	args    []blob.Arg // as the client says them; in a worker: as its parent does
	lent    []blob.Arg // as the callee of the run has them
	room    blob.Arg   // in a worker: for a result; its length is 0 if there is none
	views   []blob.View
	results []blob.Arg // of the callee: those of mode Out, in their order, as long as they are
	extra   blob.View  // of a result that the callee has asked for; nil: none
}

// takeBlobs takes what is in front of a job's arguments.
func (j *Job) takeBlobs(n uint8) (err error) {
	if n == 0 {
		return nil
	}
	j.loan = &loan{}
	if j.loan.args, j.Args, err = blob.ParseArgs(j.Args, int(n)); err != nil {
		return fmt.Errorf("blobs of a call: %w", err)
	}
	if last := int(n) - 1; j.bare != nil && j.loan.args[last].Room {
		j.loan.args, j.loan.room = j.loan.args[:last], j.loan.args[last]
		n--
	}
	for i, a := range j.loan.args {
		switch {
		case a.Body && (a.Mode != blob.In || len(j.Args) > 0 || i < int(n)-1):
			return errors.New("blobs of a call: its body is there twice, or is not to be read")
		case a.Room:
			return errors.New("blobs of a call: room for a result, which is for workers")
		}
	}
	return nil
}

// Borrows tells whether the call names blobs. copies says that snapshots are to be made of some,
// which takes its time.
func (j *Job) Borrows() (borrows, copies bool) {
	if j.loan == nil {
		return false, false
	}
	for _, a := range j.loan.args {
		copies = copies || a.Snapshot
	}
	return len(j.loan.args) > 0, copies
}

// InBody tells whether the call has its arguments in a blob, and no other blob.
func (j *Job) InBody() bool {
	return j.loan != nil && len(j.loan.args) == 1 && j.loan.args[0].Body
}

// quickLent tells whether a call has next to nothing to wait for before it runs: no snapshots, and no long argument that
// is copied.
func (j *Job) quickLent() bool {
	return j.loan == nil || j.InBody() && j.loan.args[0].Handle.Length <= mostRoom
}

// BlobCall is what the host of blobs knows the call by.
func (j *Job) BlobCall() blob.Call {
	x := j.XID()
	return blob.Call{Session: x.Session, Seq: x.Seq}
}

// Lend lends the call its blobs, for a run at a callee: what it returns is for that. The end of
// the run, told to the core, ends the loan.
func (j *Job) Lend(to blob.PartyID) ([]blob.Arg, error) {
	if j.account != nil {
		for i := range j.loan.args {
			j.loan.args[i].Account = j.account.handle
		}
	}
	args, err := j.core.opts.Blobs.Begin(j.BlobCall(), to, j.loan.args)
	j.lent, j.loan.lent = err == nil, args
	if err == nil && j.core.opts.Apart && j.core.suspects() && j.core.exact(j) {
		return nil, errPoisoned
	}
	return args, err //nolint:wrapcheck // it names the blob
}

// mostRoom is the length, in bytes, of the longest result that a worker has room for when its call comes. With longer
// ones it is of no account that it has to ask.
const mostRoom = 1 << 20

// LendTo is Lend to a worker with whom these features were agreed on. It gets room for a result, too, if the last one
// of the method was long: so it need not ask.
func (j *Job) LendTo(worker blob.PartyID, features frame.Features) ([]blob.Arg, error) {
	args, err := j.Lend(worker)
	size := j.Method.room.Load()
	if err != nil || size == 0 || len(args) == blob.MostArgs || features&frame.FeatureBlobReuse == 0 {
		return args, err
	}
	size += size / 8 // the next one may be a little longer
	account, err := j.Payer(size)
	if err != nil {
		return args, nil //nolint:nilerr // it gets none
	}
	room, err := j.core.opts.Blobs.Room(j.BlobCall(), worker, account, size)
	if err == nil && room.Handle.Length > 0 {
		room.Room = true
		args = append(args, room)
	}
	return args, nil // it may ask
}

var errPoisoned = errors.New("this method with these arguments has killed too many workers")

// sumLent is the checksum of all arguments of a job that has borrowed some. Those in a blob count as
// if they were in the message; of other blobs, the same ones again.
func (j *Job) sumLent() uint64 {
	sum := xxhash.Sum64(j.Args)
	for i, a := range j.loan.lent {
		if a.Body {
			j.core.opts.Blobs.Look(a, func(b []byte) { sum ^= xxhash.Sum64(b) })
			continue
		}
		h := a.Handle
		h.Token = blob.Token{}
		sum ^= bits.RotateLeft64(xxhash.Sum64(h.Append(nil)), i+1)
	}
	if j.InBody() {
		sum ^= xxhash.Sum64(nil)
	}
	return sum
}

// suspects tells whether the checksum of arguments matters before they are run.
func (c *Core) suspects() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.domain.Suspects()
}

// exact notes the checksum of what a job has borrowed, and tells whether it must not run.
func (c *Core) exact(j *Job) (poisoned bool) {
	sum := j.sumLent()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.domain.Exact(c.now(), j.entry, sum)
}

// Unlent says how a call has ended that could not borrow its blobs: it did not run.
func Unlent(err error) (code session.Code, reply []byte) {
	if errors.Is(err, errPoisoned) {
		return session.Poisoned, wire.Failure(-time.Millisecond, err.Error(), nil)
	}
	if errors.Is(err, blob.ErrBusy) || errors.Is(err, blob.ErrQuota) || errors.Is(err, blob.ErrCall) {
		return session.Refused, wire.Failure(10*time.Millisecond, err.Error(), nil)
	}
	return session.Invalid, wire.Failure(-time.Millisecond, err.Error(), nil)
}

// Payer is at whose cost a result of that size of the call is made. Who asks marks the call as one that
// has borrowed something, so it is asked under the lock that guards its end.
func (j *Job) Payer(size uint64) (account blob.Handle, err error) {
	if j.account == nil || size < j.account.least || j.stream != nil || j.OneWay {
		return blob.Handle{}, fmt.Errorf("%w: the caller takes no blobs", blob.ErrCall)
	}
	j.lent = true
	return j.account.handle, nil
}

// Made says which results a worker has made: the arguments in front of its reply.
func (j *Job) Made(results []blob.Arg) {
	if j.loan == nil {
		j.loan = &loan{}
	}
	j.loan.results = results
}

// unlend ends the loan of a run. It puts the handles of results in front of the reply, and returns
// how many there are; dirty says that something was left half written.
func (j *Job) unlend(outcome blob.Outcome, reply []byte) (_ []byte, n uint8, dirty bool, err error) {
	var made []blob.Arg
	if j.loan != nil {
		made = j.loan.results
		j.loan.results = nil
	}
	if !j.lent {
		if len(made) > 0 {
			return reply, 0, false, fmt.Errorf("%w: results were made that nobody has asked for", blob.ErrCall)
		}
		return reply, 0, false, nil
	}
	j.lent = false
	host := j.core.opts.Blobs
	var named []blob.Handle
	if outcome == blob.Succeeded {
		for _, a := range made {
			named = append(named, a.Handle)
		}
	}
	e, err := host.End(j.BlobCall(), outcome, named)
	if errors.Is(err, blob.ErrCall) && len(named) == 0 && (j.loan == nil || len(j.loan.args) == 0) {
		return reply, 0, false, nil // it wanted to make a result, and could not
	}
	if outcome == blob.Succeeded {
		j.note(made)
	}
	for _, h := range e.Again { // before the reply
		j.account.line.again(h)
	}
	if err != nil {
		_, _ = host.End(j.BlobCall(), blob.Crashed, nil)
		return reply, 0, j.mayBeDirty(), err //nolint:wrapcheck // it names the call
	}
	if len(e.Results) == 0 {
		return reply, 0, e.Dirty, nil
	}
	for i := range made {
		at := e.Places[i]
		made[i] = blob.Arg{Handle: e.Results[i], Mode: blob.Out, Body: made[i].Body, Segment: at.Segment, Offset: at.Offset}
	}
	return append(blob.AppendArgs(make([]byte, 0, len(made)*blob.ArgLen+len(reply)), made), reply...), uint8(len(made)), e.Dirty, nil
}

// note remembers how long the result is, if it is in a blob.
func (j *Job) note(made []blob.Arg) {
	size := uint64(0)
	if n := len(made); n > 0 && made[n-1].Body && made[n-1].Handle.Length <= mostRoom {
		size = made[n-1].Handle.Length
	}
	if j.Method.room.Load() != size { // mostly it is
		j.Method.room.Store(size)
	}
}

// mayBeDirty is what is to be feared where the host does not know a call any more.
func (j *Job) mayBeDirty() bool {
	if j.loan == nil {
		return false
	}
	for _, a := range j.loan.args {
		if a.Mode == blob.InOut && !a.Snapshot {
			return true
		}
	}
	return false
}

// returned ends the loan of a job whose handler has returned.
func (j *Job) returned(code session.Code, reply []byte) (session.Code, []byte, uint8) {
	if !j.lent && j.loan == nil {
		return code, reply, 0
	}
	outcome := blob.Failed
	if code == session.OK {
		outcome = blob.Succeeded
	}
	reply, n, _, err := j.unlend(outcome, reply)
	if err != nil && code == session.OK {
		return session.ReplyLost, wire.Failure(-time.Millisecond, "result: "+err.Error(), nil), 0
	}
	return code, reply, n
}

// discard lets results go that nobody hears of: the n blobs in front of a reply.
func (c *Core) discard(reply []byte, n uint8) {
	results, _, err := blob.ParseArgs(reply, int(n))
	if err != nil {
		return
	}
	for _, a := range results {
		c.opts.Blobs.Discard(a.Handle)
	}
}

// again tells the client by which handle it may use an argument again.
func (l *nativeLine) again(h blob.Handle) {
	if c, ok := l.peer.(*conn.Conn); ok && c.Agreed().Features&frame.FeatureBlobReuse != 0 {
		_ = c.Queue(&conn.Message{Header: frame.Header{Type: frame.TypeBlobGrant}, Body: h.Append(nil)})
	}
}

// offer answers a client that wants to have blobs.
func (l *nativeLine) offer(h Host) {
	if l.revoke != nil {
		l.revoke()
	}
	o, revoke := h.Offer(l.name)
	l.revoke = revoke
	o.Least = l.door.core.opts.LongBlob
	_ = l.peer.Queue(&conn.Message{Header: frame.Header{Type: frame.TypeBlobOffer}, Body: o.Append(nil)})
}

// account is at whose cost results are made.
type account struct {
	handle blob.Handle
	least  uint64 // bytes of such a result
	line   *nativeLine
}

func parseAccount(body []byte) (*account, error) {
	handle, least, err := frame.ParseBlobGrant(body)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	h, err := blob.ParseHandle(handle)
	return &account{handle: h, least: least}, err //nolint:wrapcheck // it says all
}

// blobs tells whether a frame is about the blobs of a connection, and sees to it.
func (l *nativeLine) blobs(in *conn.In) bool {
	h := l.door.core.opts.Blobs
	c, ok := l.peer.(*conn.Conn)
	agreed := ok && h != nil && c.Agreed().Features&frame.FeatureBlobs != 0
	switch {
	case in.Type == frame.TypeBlobOffer && agreed:
		l.offer(h)
	case in.Type == frame.TypeBlobGrant && agreed:
		if a, err := parseAccount(in.Body); err == nil {
			a.line = l
			l.account = a
		}
	case in.Type == frame.TypeCall && in.Ext.Blobs > 0 && !agreed:
		l.Close(frame.ReasonFeature, "call with blobs, which were not agreed on")
	case in.Type < frame.TypeBlobOffer:
		return false
	}
	return true
}

// lender runs jobs with blobs in this process.
type lender struct {
	callee Callee // nil: none can be lent anything

	mu     sync.Mutex
	asking map[blob.Call]*Job
}

// Lend lets handlers of this process have the blobs of their calls. It is said before the first
// call comes.
func (l *Local) Lend(c Callee) { l.blobs.callee = c }

// Payer says who pays for a result that this process is about to make.
func (l *Local) Payer(_ blob.PartyID, call blob.Call, size uint64) (blob.Handle, error) {
	l.blobs.mu.Lock()
	defer l.blobs.mu.Unlock()
	j := l.blobs.asking[call]
	if j == nil {
		return blob.Handle{}, fmt.Errorf("%w: %v", blob.ErrCall, call)
	}
	return j.Payer(size)
}

// borrow opens the arguments of a job. If it fails, the job does not run.
func (l *Local) borrow(j *Job) (code session.Code, reply []byte, ok bool) {
	if l.blobs.callee == nil {
		return session.Invalid, wire.Failure(-time.Millisecond, "this process takes no blobs", nil), false
	}
	args := j.loan.args
	if j.bare == nil {
		var err error
		if args, err = j.Lend(l.blobs.callee.Party()); err != nil {
			code, reply = Unlent(err)
			return code, reply, false
		}
	}
	for _, a := range args {
		v, err := l.blobs.callee.Argument(j.BlobCall(), a)
		if err != nil {
			j.unview()
			if code, reply = Unlent(err); j.bare != nil { // its parent has lent it: the worker cannot map it
				code = session.Refused
			}
			return code, reply, false
		}
		j.loan.views = append(j.loan.views, v)
		if a.Body {
			j.Args = v.Bytes()
			if j.bare == nil && j.Codec != codec.IDRaw { // who reads it twice must not see two things
				j.Args = slices.Clone(j.Args)
			}
		}
		if a.Mode == blob.Out {
			j.loan.results = append(j.loan.results, blob.Arg{Handle: a.Handle, Mode: blob.Out})
		}
	}
	return 0, nil, true
}

// unview closes what a job has seen of blobs.
func (j *Job) unview() {
	for _, v := range j.loan.views {
		_ = v.Close()
	}
	if n := len(j.loan.views); n > 0 && j.loan.args[n-1].Body {
		j.Args = nil
	}
	j.loan.views = nil
	if j.loan.extra != nil {
		_ = j.loan.extra.Close()
		j.loan.extra = nil
	}
}

// borrowed tells whether a panic is a fault in what the job has borrowed.
func (j *Job) borrowed(panicked any) bool {
	at, ok := panicked.(interface{ Addr() uintptr })
	if !ok || j.loan == nil {
		return false
	}
	return slices.ContainsFunc(j.loan.views, func(v blob.View) bool {
		b := v.Bytes()
		if len(b) == 0 {
			return false
		}
		begin := uintptr(unsafe.Pointer(&b[0])) //nolint:gosec // compared, and not kept
		return at.Addr() >= begin && at.Addr() < begin+uintptr(len(b))
	})
}

// giveBack closes a job's views, and makes a long result a blob. What is part of an argument is
// copied before that is gone.
func (l *Local) giveBack(j *Job, code session.Code, reply []byte) []byte {
	if code == session.OK && len(reply) >= LongResult && j.stream == nil && !j.OneWay {
		reply = l.long(j, reply)
	}
	if j.loan == nil {
		return reply
	}
	if x := j.loan.extra; x != nil && reply != nil { // it was not for this result
		unused := &j.loan.results[len(j.loan.results)-1]
		unused.Body, unused.Handle.Length = false, 0
		if overlap(x.Bytes(), reply) {
			reply = append([]byte(nil), reply...)
		}
	}
	for _, v := range j.loan.views {
		if overlap(v.Bytes(), reply) {
			reply = append([]byte(nil), reply...)
		}
	}
	j.unview()
	return reply
}

// long puts a result into a blob of its caller, if that has an account. A result that was
// made in one is there already.
func (l *Local) long(j *Job, reply []byte) []byte {
	if j.loan == nil || j.loan.extra == nil {
		room := l.room(j, len(reply))
		if room == nil {
			return reply
		}
		copy(room, reply)
	} else if !within(j.loan.extra.Bytes(), reply) {
		return reply
	}
	j.loan.results[len(j.loan.results)-1].Handle.Length = uint64(len(reply))
	return nil
}

// room makes room for a long result of a job; nil if it is to go into the message.
func (l *Local) room(j *Job, n int) []byte {
	if l.blobs.callee == nil || j.bare == nil && (j.account == nil || uint64(n) < j.account.least) {
		return nil
	}
	call := j.BlobCall()
	if j.bare == nil {
		l.blobs.mu.Lock()
		if l.blobs.asking == nil {
			l.blobs.asking = map[blob.Call]*Job{}
		}
		l.blobs.asking[call] = j
		l.blobs.mu.Unlock()
		defer func() {
			l.blobs.mu.Lock()
			delete(l.blobs.asking, call)
			l.blobs.mu.Unlock()
		}()
	}
	a, v, err := l.result(j, uint64(n))
	if err != nil {
		return nil
	}
	if j.loan == nil {
		j.loan = &loan{}
	}
	a.Body = true
	j.loan.results, j.loan.extra = append(j.loan.results, a), v
	return v.Bytes()[:n]
}

// result finds memory for a result of size bytes at least.
func (l *Local) result(j *Job, size uint64) (blob.Arg, blob.View, error) {
	if j.loan == nil || j.loan.room.Handle.Length < size {
		return l.blobs.callee.Result(j.BlobCall(), size) //nolint:wrapcheck // it is not told
	}
	room := j.loan.room
	j.loan.room = blob.Arg{}
	v, err := l.blobs.callee.Argument(j.BlobCall(), room)
	return blob.Arg{Handle: room.Handle, Mode: blob.Out}, v, err //nolint:wrapcheck // it is not told
}

// within tells whether b begins where room does, and ends in it.
func within(room, b []byte) bool {
	return len(room) > 0 && len(b) <= len(room) && &room[0] == &b[0]
}

// Room makes room for a result of n bytes that the handler is to return, in memory that its
// caller sees: what is returned of it, from its begin on, is not copied. If there is none to be
// had, it is memory as any.
func (j *Job) Room(n int) []byte {
	if n >= LongResult && j.local != nil && j.stream == nil && !j.OneWay && (j.loan == nil || j.loan.extra == nil) {
		if room := j.local.room(j, n); room != nil {
			return room
		}
	}
	return make([]byte, n)
}

// Blob is what a call has lent, by its number: how, and its bytes; ok is false if there is no
// such blob. They are the handler's until it returns. made is there if the handler makes it: the
// length of its handle is how long it is.
func (j *Job) Blob(i int) (a blob.Arg, bytes []byte, made *blob.Arg, ok bool) {
	if j.loan == nil || i < 0 || i >= len(j.loan.views) {
		return blob.Arg{}, nil, nil, false
	}
	out := 0
	for _, before := range j.loan.args[:i] {
		if before.Mode == blob.Out {
			out++
		}
	}
	if a = j.loan.args[i]; a.Mode == blob.Out {
		made = &j.loan.results[out]
	}
	return a, j.loan.views[i].Bytes(), made, true
}
