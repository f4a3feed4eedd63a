package blob

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// PartyID names somebody who may have blobs: a session. It is not used again.
type PartyID uint64

type party struct {
	id      PartyID
	name    string
	lease   time.Duration // 0: until it leaves
	expires time.Duration
	count   uint64 // of blobs that it pays for
	bytes   uint64
	blobs   map[uint64]*blob // that it owns
	refs    map[RefID]*ref   // not those for calls
}

// Join makes a party. With a lease it has to renew it in that time; without one it
// stays until it leaves, and whoever let it join has to see its death. The handle is
// that of its account: who has it may have results made for the party.
func (t *Table) Join(now time.Duration, name string, lease time.Duration) (PartyID, Handle, error) {
	if have := uint64(len(t.parties)); have >= t.Limits.Parties {
		return 0, Handle{}, &QuotaError{Unit: "parties", Have: have, Want: 1, Limit: t.Limits.Parties}
	}
	t.joined++
	p := &party{
		id: t.joined, name: name, lease: lease, expires: now + lease,
		blobs: map[uint64]*blob{}, refs: map[RefID]*ref{},
	}
	t.parties[p.id] = p
	return p.id, t.signer.sign(Handle{Domain: t.Domain, ID: uint64(p.id), Rights: Pay}), nil
}

// Renew lets a party's lease begin anew.
func (t *Table) Renew(now time.Duration, id PartyID) error {
	p, err := t.party(id)
	if err == nil {
		p.expires = now + p.lease
	}
	return err
}

// Leave takes all that a party has: it has left, or it is dead. What is lent to a call
// stays so until the call ends; if the party runs the call, that is told by End within
// the grace, or the call counts as crashed.
func (t *Table) Leave(now time.Duration, id PartyID) {
	p := t.parties[id]
	if p == nil {
		return
	}
	for _, l := range t.loans {
		if l.callee == p {
			l.overdue = now + t.Grace
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(p.refs)) {
		t.unref(now, p.refs[ref])
	}
	delete(t.parties, id) // so that what is freed now takes its segment along
	for _, b := range slices.Sorted(maps.Keys(p.blobs)) {
		t.disown(now, p.blobs[b])
	}
	t.retire(func(s *segment) bool { return s.group.owner != id })
}

func (t *Table) party(id PartyID) (*party, error) {
	if p := t.parties[id]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%w: %d", ErrParty, id)
}

// account returns the party of a handle that Join has made.
func (t *Table) account(h Handle) (*party, error) {
	switch {
	case h.Domain != t.Domain:
		return nil, fmt.Errorf("%w: %v", ErrDomain, h)
	case !t.signer.genuine(h):
		return nil, fmt.Errorf("%w: %v", ErrForged, h)
	case h.Rights != Pay:
		return nil, fmt.Errorf("%w: %v is no account", ErrRights, h)
	}
	p := t.parties[PartyID(h.ID)]
	if p == nil { // not ErrParty, which is of who asks
		return nil, fmt.Errorf("%w: who would pay for a result has left: %v", ErrGone, h)
	}
	return p, nil
}

// Acquire takes a reference to a blob: to keep it, or to use it for longer than a call.
// It ends by Release, with the party, or with a lease of its own. A party has no more of
// them than it may have blobs.
func (t *Table) Acquire(now time.Duration, id PartyID, h Handle, mode Mode, lease time.Duration) (RefID, Place, error) {
	p, err := t.party(id)
	if err != nil {
		return 0, Place{}, err
	}
	if mode == Out || mode >= modes {
		return 0, Place{}, fmt.Errorf("%w: %v for no call", ErrRights, mode)
	}
	b, err := t.usable(p, h, mode)
	if err != nil {
		return 0, Place{}, err
	}
	if have := uint64(len(p.refs)); have >= t.Limits.PartyBlobs {
		return 0, Place{}, &QuotaError{Party: p.name, Unit: "references", Have: have, Want: 1, Limit: t.Limits.PartyBlobs}
	}
	r := t.ref(now, p, b, h, mode)
	p.refs[r.id] = r
	if lease > 0 {
		r.expires = now + lease
		t.leased[r.id] = r
	}
	return r.id, b.place(h, mode.writes()), nil
}

// usable returns the blob of a handle if the party may use it in this way now.
func (t *Table) usable(p *party, h Handle, mode Mode) (*blob, error) {
	b, err := t.find(h)
	if err != nil {
		return nil, err
	}
	others := b.lend
	if b.state == Allocated {
		others = 0
	}
	switch {
	case mode.rights()&^h.Rights != 0:
		return nil, fmt.Errorf("%w: %v as %v", ErrRights, h, mode)
	case b.owner != p && (others == 0 || mode.rights()&^others != 0):
		return nil, fmt.Errorf("%w: %v is not lent as %v", ErrRights, h, mode)
	case b.dirty && mode != Pin:
		return nil, fmt.Errorf("%w: %v", ErrDirty, h)
	}
	return b, b.free(h, mode)
}

func (t *Table) ref(now time.Duration, p *party, b *blob, h Handle, mode Mode) *ref {
	t.lastRef++
	r := &ref{
		id: t.lastRef, blob: b, holder: p, mode: mode,
		offset: h.Offset, until: h.Offset + h.Length, since: now,
	}
	b.refs = append(b.refs, r)
	return r
}

// Release gives a reference back.
func (t *Table) Release(now time.Duration, id PartyID, ref RefID) error {
	p, err := t.party(id)
	if err != nil {
		return err
	}
	r := p.refs[ref]
	if r == nil {
		return fmt.Errorf("%w: reference %d is not of party %d", ErrGone, ref, id)
	}
	t.unref(now, r)
	return nil
}

// Expire ends what is over: leases, and the time that segments are kept for. It
// returns the calls whose callee died and that nobody has ended: they crashed, and are
// to be ended so.
func (t *Table) Expire(now time.Duration) (crashed []Call) {
	for _, id := range slices.Sorted(maps.Keys(t.parties)) {
		if p := t.parties[id]; p.lease > 0 && now >= p.expires {
			t.Leave(now, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(t.leased)) {
		if r := t.leased[id]; now >= r.expires {
			t.unref(now, r)
		}
	}
	t.retire(func(s *segment) bool { return now < s.idle+t.Idle })
	for call, l := range t.loans {
		if l.overdue > 0 && now >= l.overdue && !l.ended {
			crashed = append(crashed, call)
		}
	}
	slices.SortFunc(crashed, Call.compare)
	return crashed
}
