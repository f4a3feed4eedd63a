package blob

import (
	"fmt"
	"time"
)

// part is what of an argument that its owner wants to use again the call is to have; again is false if who asks for
// the call is not its owner.
func (t *Table) part(arg Arg) (part Handle, again bool, err error) {
	h, asks := arg.Handle, PartyID(0)
	if p, err := t.account(arg.Account); err == nil {
		asks = p.id
	}
	b, err := t.find(h)
	switch {
	case err != nil && t.newest(asks, h) != h: // the call is an old one that comes again, its argument has become another's
		return Handle{}, false, fmt.Errorf("%w: %v has been used again", ErrBusy, h)
	case err != nil:
		return Handle{}, false, err
	}
	if h, err = h.narrow(0, arg.Size, Read); err != nil {
		return Handle{}, false, err
	}
	if b.generation > b.first {
		t.made++
	}
	return t.signer.sign(h), b.owner.id == asks, nil
}

// newest is the handle of an owner's blob after it has been used again, for one from before. Of all others it is h.
func (t *Table) newest(owner PartyID, h Handle) Handle {
	if h.Domain != t.Domain || !t.signer.genuine(h) || h.Rights == Pay {
		return h
	}
	b := t.blobs[h.ID-1]
	if b.owner == nil || b.owner.id != owner || h.Generation < b.first || h.Generation >= b.generation || b.pending {
		return h
	}
	h.Generation = b.generation
	return t.signer.sign(h)
}

// Again lets owners use arguments of calls again that have ended: they may write to them, and lend them again. So
// nobody else may have anything of them: each has another generation from now on, and what others know it by is of
// nothing. Returned are the handles of those that it is true of; of the others, as of all in which much of its owner's
// quota or of the memory is in use, nothing changes.
func (t *Table) Again(handles []Handle) (again []Handle) {
	for _, h := range handles {
		b, err := t.find(h)
		if err != nil || len(b.refs) > 0 || b.dirty || b.generation >= lastGeneration || !t.ample(b.owner, 0) {
			continue
		}
		b.generation++
		again = append(again, t.handle(b, Read))
	}
	return again
}

// Room is Extend for a result that there may be. Its length is 0 where much of the payer's quota or of the memory is in use.
func (t *Table) Room(now time.Duration, call Call, callee PartyID, account Handle, size uint64) (Arg, Place, error) {
	if p, err := t.account(account); err == nil && !t.ample(p, size) {
		return Arg{}, Place{}, nil
	}
	return t.Extend(now, call, callee, account, size)
}

// ample tells whether a party may have that many bytes more that it can do without.
func (t *Table) ample(p *party, bytes uint64) bool {
	return p.bytes+bytes <= t.Limits.PartyBytes/2 && p.count <= t.Limits.PartyBlobs/2 && t.arenas.total+bytes <= t.Limits.Memory/2
}
