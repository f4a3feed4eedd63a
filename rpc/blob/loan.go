package blob

import (
	"bytes"
	"cmp"
	"fmt"
	"time"
)

// Call is the identity of a call: of its session, and its number there.
type Call struct {
	Session [16]byte
	Seq     uint64
}

func (c Call) String() string { return fmt.Sprintf("%x/%d", c.Session[:4], c.Seq) }

func (c Call) compare(o Call) int {
	return cmp.Or(bytes.Compare(c.Session[:], o.Session[:]), cmp.Compare(c.Seq, o.Seq))
}

// loan is what a call has borrowed.
type loan struct {
	callee  *party
	args    []*lent
	overdue time.Duration // when it counts as crashed; 0: its callee lives
	ended   bool          // it waits for Settle
}

type lent struct {
	*ref
	snapshot *ref   // keeps what the bytes were; nil: none
	extra    bool   // a result that the callee has asked for
	again    bool   // its owner wants to use it again
	named    bool   // a result that the callee has named when it had succeeded
	written  uint64 // bytes of it
}

// Loan is what a callee gets.
type Loan struct {
	Args   []Arg  // in their order, with where they are
	Copies []Copy // to be made before the callee gets it
}

// Copy says that bytes are to be copied.
type Copy struct{ From, To Place }

// Outcome is how a call ended.
type Outcome uint8

// How a call may end.
const (
	Succeeded Outcome = iota
	Failed            // its handler returned an error: it has ended in order
	Crashed           // its handler was cut short, or nobody knows
)

// Ended is what a call's end leaves.
type Ended struct {
	Results []Handle // of the Out arguments, in their order; none unless it succeeded
	Places  []Place  // where they are, in the same order
	Copies  []Copy   // to be made before Settle
	Again   []Handle // of the arguments whose owners want to use them again: for Again, after Settle
	Dirty   bool     // it has left a blob half written: do not run the call again by itself
}

// Begin lends a call its arguments, all or none. In and InOut arguments are ranges of
// blobs that nobody else changes until the call has ended, and InOut ones nobody else
// uses. Out arguments are made now, at the cost of the account that they name; nobody
// but the callee sees them until the call has succeeded. An argument that its owner has used again
// ([Arg].Again) since it asked for the call is [ErrBusy]: its bytes may be another one's by now.
func (t *Table) Begin(now time.Duration, call Call, callee PartyID, args []Arg) (Loan, error) {
	p, err := t.party(callee)
	if err != nil {
		return Loan{}, err
	}
	if t.loans[call] != nil {
		return Loan{}, fmt.Errorf("%w: call %v has begun", ErrCall, call)
	}
	l := &loan{callee: p}
	var out Loan
	for i, arg := range args {
		h, err := t.lend(now, l, arg, &out)
		if err != nil {
			t.settleLoan(now, l)
			return Loan{}, fmt.Errorf("argument %d: %w", i, err)
		}
		place := l.args[i].blob.place(h, false)
		out.Args = append(out.Args, Arg{Handle: h, Mode: arg.Mode, Body: arg.Body, Segment: place.Segment, Offset: place.Offset})
	}
	t.loans[call] = l
	return out, nil
}

// Extend lends a call one more result, of size bytes at most, at the cost of an account. A
// call that has borrowed nothing yet has from now on. It comes behind the other arguments.
func (t *Table) Extend(now time.Duration, call Call, callee PartyID, account Handle, size uint64) (Arg, Place, error) {
	p, err := t.party(callee)
	if err != nil {
		return Arg{}, Place{}, err
	}
	l := t.loans[call]
	switch {
	case l == nil:
		l = &loan{callee: p}
	case l.callee != p || l.ended || len(l.args) >= MostArgs:
		return Arg{}, Place{}, fmt.Errorf("%w: call %v takes no result more from party %d", ErrCall, call, callee)
	}
	h, err := t.lend(now, l, Arg{Handle: account, Mode: Out, Size: size}, nil)
	if err != nil {
		return Arg{}, Place{}, fmt.Errorf("result: %w", err)
	}
	t.loans[call] = l
	made := l.args[len(l.args)-1]
	made.extra = true
	return Arg{Handle: h, Mode: Out}, made.blob.place(h, true), nil
}

func (t *Table) lend(now time.Duration, l *loan, arg Arg, out *Loan) (Handle, error) {
	h := arg.Handle
	var b *blob
	var err error
	switch arg.Mode {
	case Out:
		var payer *party
		if payer, err = t.account(h); err != nil {
			return Handle{}, err
		}
		if b, err = t.allocate(now, payer, arg.Size, Read|Write); err != nil {
			return Handle{}, err
		}
		b.pending = true
		h = t.handle(b, Read|Write)
	case In, InOut:
		if arg.Again {
			if h, arg.Again, err = t.part(arg); err != nil {
				return Handle{}, err
			}
		}
		if b, err = t.usable(l.callee, h, arg.Mode); err != nil {
			return Handle{}, err
		}
		h.Rights = arg.Mode.rights()
		h = t.signer.sign(h)
	default:
		return Handle{}, fmt.Errorf("%w: %v as an argument", ErrRights, arg.Mode)
	}
	a := &lent{ref: t.ref(now, l.callee, b, h, arg.Mode), again: arg.Again}
	a.loan = l
	l.args = append(l.args, a)
	if arg.Mode == InOut && arg.Snapshot && h.Length > 0 {
		c, err := t.snapshot(now, a, h)
		if err != nil {
			return Handle{}, err
		}
		out.Copies = append(out.Copies, c)
	}
	return h, nil
}

// snapshot makes room for what the bytes of an argument are now.
func (t *Table) snapshot(now time.Duration, a *lent, h Handle) (Copy, error) {
	keep, err := t.allocate(now, a.blob.owner, h.Length, Read)
	if err != nil {
		return Copy{}, fmt.Errorf("snapshot: %w", err)
	}
	whole := Handle{Length: h.Length}
	a.snapshot = t.ref(now, a.holder, keep, whole, Pin)
	a.snapshot.loan = a.loan
	t.disown(now, keep)
	return Copy{From: a.blob.place(h, false), To: keep.place(whole, true)}, nil
}

// End ends a call. Say it when its handler cannot run any more. made are the handles of its
// results as the callee got them, in the order of the Out arguments, but for their lengths:
// these are how long they are. What the callee has asked for itself need not be among them.
// If others are, nothing has changed. Until Settle, the memory of the call stays where it is.
func (t *Table) End(call Call, outcome Outcome, made []Handle) (Ended, error) {
	l := t.loans[call]
	if l == nil || l.ended {
		return Ended{}, fmt.Errorf("%w: call %v", ErrCall, call)
	}
	if outcome == Succeeded {
		if err := t.name(l, made); err != nil {
			return Ended{}, err
		}
	}
	l.ended = true
	var e Ended
	for _, a := range l.args {
		switch {
		case outcome == Succeeded && a.named:
			h := t.reveal(a.blob, a.written)
			e.Results, e.Places = append(e.Results, h), append(e.Places, a.blob.place(h, true))
		case outcome != Succeeded && a.snapshot != nil:
			whole := Handle{Length: a.until - a.offset}
			part := Handle{Offset: a.offset, Length: whole.Length}
			e.Copies = append(e.Copies, Copy{From: a.snapshot.blob.place(whole, false), To: a.blob.place(part, true)})
		case outcome == Crashed && a.mode == InOut:
			a.blob.dirty, e.Dirty = true, true
		case outcome != Crashed && a.again:
			e.Again = append(e.Again, t.handle(a.blob, Read))
		}
	}
	return e, nil
}

// name finds the results that a callee names. It believes of a handle what the table has made of
// it, so a callee names nothing but its call's own.
func (t *Table) name(l *loan, made []Handle) error {
	for _, a := range l.args {
		if a.mode != Out {
			continue
		}
		if a.named = false; len(made) > 0 {
			h, written := made[0], made[0].Length
			h.Length = a.blob.size
			if a.named, a.written = h == t.handle(a.blob, Read|Write), written; a.named && written > a.blob.size {
				return fmt.Errorf("%w: a result of %d bytes, %d were asked for", ErrRange, written, a.blob.size)
			}
		}
		switch {
		case a.named:
			made = made[1:]
		case !a.extra:
			return fmt.Errorf("%w: a result that was asked for is not named", ErrMalformed)
		}
	}
	if len(made) > 0 {
		return fmt.Errorf("%w: %v is no result of this call", ErrMalformed, made[0])
	}
	return nil
}

// reveal gives the account's party the result that was made for it, by a handle that
// the callee has not got. If the party has gone, the handle is of nothing.
func (t *Table) reveal(b *blob, written uint64) Handle {
	b.pending, b.size = false, written
	b.generation++
	return t.handle(b, Read|Write)
}

// Settle gives back what an ended call has borrowed, when its copies have been made.
func (t *Table) Settle(now time.Duration, call Call) error {
	l := t.loans[call]
	if l == nil || !l.ended {
		return fmt.Errorf("%w: call %v has not ended", ErrCall, call)
	}
	delete(t.loans, call)
	t.settleLoan(now, l)
	return nil
}

func (t *Table) settleLoan(now time.Duration, l *loan) {
	for _, a := range l.args {
		b := a.blob
		if a.snapshot != nil {
			t.unref(now, a.snapshot)
		}
		if b.pending && b.owner != nil { // made for a call that has not succeeded
			t.disown(now, b)
		}
		t.unref(now, a.ref)
	}
}

// Locate tells a party where bytes are that it has: a callee those of an argument, by
// the handle that it got; an owner, with no call, those of its blob.
func (t *Table) Locate(id PartyID, call Call, h Handle) (Place, error) {
	if call == (Call{}) {
		b, err := t.owned(id, h)
		if err != nil {
			return Place{}, err
		}
		return b.place(h, h.Rights&Write != 0), nil
	}
	l := t.loans[call]
	if l == nil || l.callee.id != id {
		return Place{}, fmt.Errorf("%w: call %v of party %d", ErrCall, call, id)
	}
	if h.Domain != t.Domain || !t.signer.genuine(h) {
		return Place{}, fmt.Errorf("%w: %v", ErrForged, h)
	}
	for _, a := range l.args {
		if a.has(h) {
			return a.blob.place(h, h.Rights&Write != 0), nil
		}
	}
	return Place{}, fmt.Errorf("%w: %v is no argument of call %v", ErrGone, h, call)
}

func (a *lent) has(h Handle) bool {
	return a.blob.id == h.ID && a.blob.generation == h.Generation &&
		a.offset <= h.Offset && h.Offset+h.Length <= a.until && h.Rights&^a.mode.rights() == 0
}
