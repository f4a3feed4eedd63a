package blob

import (
	"fmt"
	"time"
)

// Borrow takes a reference for a party to the range of a handle, as Acquire does, but
// one that does not go with the party: it is of somebody who moves the bytes for it, by
// a device or a socket, and who cannot be stopped at once. Until Return they stay where
// they are, whatever becomes of the party.
func (t *Table) Borrow(now time.Duration, id PartyID, h Handle, mode Mode) (RefID, Place, error) {
	p, err := t.party(id)
	if err != nil {
		return 0, Place{}, err
	}
	if mode != In && mode != InOut {
		return 0, Place{}, fmt.Errorf("%w: %v cannot be borrowed as %v", ErrRights, h, mode)
	}
	b, err := t.usable(p, h, mode)
	if err != nil {
		return 0, Place{}, err
	}
	r := t.ref(now, p, b, h, mode)
	t.borrowed[r.id] = r
	return r.id, b.place(h, mode.writes()), nil
}

// Return gives back what was borrowed.
func (t *Table) Return(now time.Duration, ref RefID) error {
	r := t.borrowed[ref]
	if r == nil {
		return fmt.Errorf("%w: reference %d is not borrowed", ErrGone, ref)
	}
	delete(t.borrowed, ref)
	t.unref(now, r)
	return nil
}

// Ending says that what was borrowed is used no more, but for what is on its way: who wants
// the bytes had better wait.
func (t *Table) Ending(ref RefID) {
	if r := t.borrowed[ref]; r != nil {
		r.ending = true
	}
}
