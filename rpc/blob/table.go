package blob

import (
	"fmt"
	"slices"
	"time"
)

// Limits bound what parties may have. Zero is the default.
type Limits struct {
	Memory     uint64 // bytes of all segments; default 4 GiB
	PartyBytes uint64 // bytes of one party's blobs, in whole size classes; default 1 GiB
	PartyBlobs uint64 // blobs of one party, and references that it has for itself; default 1<<16
	Parties    uint64 // default 1024
}

// Config is what a table starts with.
type Config struct {
	Domain  Domain // random
	Key     Key    // random
	Limits  Limits
	Segment uint64        // largest segment that several blobs share, bytes; default and most 256 MiB
	Idle    time.Duration // how long a segment is kept that nothing uses; default 10 s
	Grace   time.Duration // from a callee's death until its loans count as crashed; default 500 ms
}

func (c *Config) setDefaults() {
	def := func(v *uint64, d uint64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Limits.Memory, 4<<30)
	def(&c.Limits.PartyBytes, 1<<30)
	def(&c.Limits.PartyBlobs, 1<<16)
	def(&c.Limits.Parties, 1024)
	def(&c.Segment, 256<<20)
	c.Segment = min(max(c.Segment/Page, 1), maxRun/2) * Page
	if c.Idle == 0 {
		c.Idle = 10 * time.Second
	}
	if c.Grace == 0 {
		c.Grace = 500 * time.Millisecond
	}
}

// Table knows the blobs of a domain, who has them, and where in memory they are. It is
// not safe for concurrent use. Times are on any monotonic clock, the same for all calls.
type Table struct {
	Config
	signer   *signer
	arenas   arenas
	blobs    []*blob // by ID, less 1
	unused   []uint64
	parties  map[PartyID]*party
	loans    map[Call]*loan
	leased   map[RefID]*ref // those with a lease of their own
	borrowed map[RefID]*ref // those that do not go with their party
	retired  []SegmentID
	live     uint64
	made     uint64 // blobs, ever
	joined   PartyID
	lastRef  RefID
}

// NewTable makes an empty table.
func NewTable(c Config) *Table {
	c.setDefaults()
	return &Table{
		Config: c, signer: newSigner(c.Key),
		arenas:  arenas{largest: c.Segment, groups: map[group][]*segment{}},
		parties: map[PartyID]*party{}, loans: map[Call]*loan{}, leased: map[RefID]*ref{}, borrowed: map[RefID]*ref{},
	}
}

// Place is where in memory the range of a handle is.
type Place struct {
	Segment      SegmentID
	SegmentBytes uint64
	Offset       uint64  // of the range in the segment, bytes
	Length       uint64  // of the range, bytes
	Write        bool    // whether it may be written
	Group        PartyID // whose blobs all of the segment is for
}

// Allocate makes a blob of a party. Nobody else has access until it is shared, and
// then never with more than the rights in lend, which are Read, or Read and Write:
// what has only been lent for reading, no other process can write, whatever it does.
// Its bytes are zero, or what an earlier blob of the same party has left there.
func (t *Table) Allocate(now time.Duration, owner PartyID, size uint64, lend Rights) (Handle, Place, error) {
	p, err := t.party(owner)
	if err != nil {
		return Handle{}, Place{}, err
	}
	b, err := t.allocate(now, p, size, lend)
	if err != nil {
		return Handle{}, Place{}, err
	}
	h := t.handle(b, Read|Write)
	return h, b.place(h, true), nil
}

func (t *Table) allocate(now time.Duration, p *party, size uint64, lend Rights) (*blob, error) {
	if lend != Read && lend != Read|Write {
		return nil, fmt.Errorf("%w: a blob cannot be lent with %#x", ErrRights, byte(lend))
	}
	if size > t.Limits.Memory { // also guards the arithmetic below
		return nil, &QuotaError{Unit: "bytes", Have: t.arenas.total, Want: size, Limit: t.Limits.Memory}
	}
	pages := pagesFor(size)
	if err := t.affords(p, pages*Page); err != nil {
		return nil, err
	}
	where, need := t.arenas.take(group{p.id, lend}, pages)
	if need != nil {
		return nil, t.room(need)
	}
	if len(t.unused) == 0 {
		t.blobs = append(t.blobs, &blob{id: uint64(len(t.blobs)) + 1})
		t.unused = append(t.unused, uint64(len(t.blobs)))
	}
	b := t.blobs[t.unused[len(t.unused)-1]-1]
	t.unused = t.unused[:len(t.unused)-1]
	*b = blob{
		id: b.id, generation: b.generation + 1, first: b.generation + 1, state: Allocated, owner: p, payer: p,
		size: size, lend: lend, where: where, born: now, refs: b.refs[:0],
	}
	p.blobs[b.id] = b
	p.count++
	p.bytes += pages * Page
	t.live++
	t.made++
	return b, nil
}

func (t *Table) affords(p *party, bytes uint64) error {
	if p.bytes+bytes > t.Limits.PartyBytes {
		return &QuotaError{Party: p.name, Unit: "bytes", Have: p.bytes, Want: bytes, Limit: t.Limits.PartyBytes}
	}
	if p.count >= t.Limits.PartyBlobs {
		return &QuotaError{Party: p.name, Unit: "blobs", Have: p.count, Want: 1, Limit: t.Limits.PartyBlobs}
	}
	return nil
}

// room makes room for a segment, if it has to and can, and returns n or what is in
// its way. What is kept because it may be used again is what goes.
func (t *Table) room(n *Need) error {
	p := t.parties[n.group.owner]
	most := 2 * (t.Limits.PartyBytes + firstSegment)                // more, and it leaves holes on purpose
	most = min(most, max(t.Limits.PartyBytes, t.Limits.Memory/4*3)) // some is left to others
	if have := t.arenas.of(p.id); have+n.Bytes > most {
		return &QuotaError{Party: p.name, Unit: "bytes of segments", Have: have, Want: n.Bytes, Limit: most}
	}
	if t.arenas.total+n.Bytes > t.Limits.Memory {
		t.retire(func(*segment) bool { return t.arenas.total+n.Bytes <= t.Limits.Memory })
	}
	if t.arenas.total+n.Bytes > t.Limits.Memory {
		return &QuotaError{Unit: "bytes", Have: t.arenas.total, Want: n.Bytes, Limit: t.Limits.Memory}
	}
	return n
}

// Grow adds a segment that was needed, whose memory is zero, and names it.
func (t *Table) Grow(now time.Duration, n *Need) SegmentID { return t.arenas.add(now, n) }

// Retired returns the segments that are not used any more, each once: their memory
// is to be given back.
func (t *Table) Retired() []SegmentID {
	retired := t.retired
	t.retired = nil
	return retired
}

func (t *Table) retire(keep func(*segment) bool) {
	t.retired = append(t.retired, t.arenas.drop(keep)...)
}

// Share makes a handle for others: of a part of a handle of the owner's blob.
func (t *Table) Share(owner PartyID, h Handle, offset, length uint64, rights Rights) (Handle, error) {
	b, err := t.owned(owner, h)
	if err != nil {
		return Handle{}, err
	}
	if rights&^b.lend != 0 {
		return Handle{}, fmt.Errorf("%w: %v is not to be lent with %#x", ErrRights, h, byte(rights))
	}
	if h, err = h.narrow(offset, length, rights); err == nil {
		b.state = Shared
		h = t.signer.sign(h)
	}
	return h, err
}

// Slice makes a handle of a part of h, with some of its rights. Whoever has h may.
func (t *Table) Slice(h Handle, offset, length uint64, rights Rights) (Handle, error) {
	if _, err := t.find(h); err != nil {
		return Handle{}, err
	}
	part, err := h.narrow(offset, length, rights)
	if err != nil {
		return Handle{}, err
	}
	return t.signer.sign(part), nil
}

// Free takes the owner's reference. The memory is free when nobody else has one. A handle
// from before the blob was used again is as good.
func (t *Table) Free(now time.Duration, owner PartyID, h Handle) error {
	b, err := t.owned(owner, t.newest(owner, h))
	if err == nil {
		t.disown(now, b)
	}
	return err
}

// Discard frees a result whose owner does not come to know of it.
func (t *Table) Discard(now time.Duration, result Handle) error {
	b, err := t.find(result)
	if err == nil && b.owner != nil {
		t.disown(now, b)
	}
	return err
}

// Accept makes a blob usable again that a crash has left half written. Its owner says
// by it that it knows, and has written it anew or can do with what is there.
func (t *Table) Accept(owner PartyID, h Handle) error {
	b, err := t.owned(owner, h)
	if err == nil {
		b.dirty = false
	}
	return err
}

// find returns the blob of a handle. What was let go is not found: its last users
// have it, and nobody else comes to have it.
func (t *Table) find(h Handle) (*blob, error) {
	switch {
	case h.Domain != t.Domain:
		return nil, fmt.Errorf("%w: %v", ErrDomain, h)
	case !t.signer.genuine(h):
		return nil, fmt.Errorf("%w: %v", ErrForged, h)
	case h.Rights == Pay:
		return nil, fmt.Errorf("%w: %v is no blob", ErrRights, h)
	}
	b := t.blobs[h.ID-1] // a genuine handle has a genuine id
	if b.generation != h.Generation || b.state == Draining || b.state == Freed || b.pending {
		return nil, fmt.Errorf("%w: %v", ErrGone, h)
	}
	return b, nil
}

func (t *Table) owned(owner PartyID, h Handle) (*blob, error) {
	b, err := t.find(h)
	if err != nil {
		return nil, err
	}
	if b.owner == nil || b.owner.id != owner {
		return nil, fmt.Errorf("%w: %v is not of party %d", ErrRights, h, owner)
	}
	return b, nil
}

// handle is the handle of a whole blob.
func (t *Table) handle(b *blob, rights Rights) Handle {
	return t.signer.sign(Handle{
		Domain: t.Domain, ID: b.id, Generation: b.generation, Rights: rights, Length: b.size,
	})
}

func (t *Table) disown(now time.Duration, b *blob) {
	delete(b.owner.blobs, b.id)
	b.owner = nil
	b.state = Draining
	t.settle(now, b)
}

// settle frees a blob that nobody has.
func (t *Table) settle(now time.Duration, b *blob) {
	if b.owner != nil || len(b.refs) > 0 {
		return
	}
	b.where.segment.give(now, b.where.first)
	if p := b.payer; t.parties[p.id] == p {
		p.count--
		p.bytes -= b.where.pages * Page
	} else {
		t.retire(func(s *segment) bool { return s.group.owner != p.id })
	}
	t.live--
	b.state, b.payer, b.where = Freed, nil, extent{}
	if b.generation <= lastGeneration { // else the id is spent
		t.unused = append(t.unused, b.id)
	}
}

// unref takes a reference away.
func (t *Table) unref(now time.Duration, r *ref) {
	b := r.blob
	i := slices.Index(b.refs, r)
	b.refs = slices.Delete(b.refs, i, i+1)
	delete(r.holder.refs, r.id)
	delete(t.leased, r.id)
	t.settle(now, b)
}
