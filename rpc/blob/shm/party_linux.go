package shm

import (
	"os"
	"sync"
	"time"

	"rpcpool.dev/rpc/blob"
)

// Party is somebody without memory here: a process of another machine. Who serves it in
// this process asks for it, moves its bytes, and sees its death. It is safe for
// concurrent use.
type Party struct {
	host    *Host
	id      blob.PartyID
	account blob.Handle
}

// Join makes a party, which stays until Leave.
func (h *Host) Join(name string) (*Party, error) {
	p := &Party{host: h}
	err := h.with(func(t *blob.Table, now time.Duration) (err error) {
		p.id, p.account, err = t.Join(now, name[:min(len(name), mostName)], 0)
		return err
	})
	return p, err
}

// ID is what the host calls the party.
func (p *Party) ID() blob.PartyID { return p.id }

// Account is the handle by which results are made for the party.
func (p *Party) Account() blob.Handle { return p.account }

// Leave frees what the party has, but for what is borrowed.
func (p *Party) Leave() { p.host.Leave(p.id) }

// Allocate makes a blob of the party: see [blob.Table.Allocate].
func (p *Party) Allocate(size uint64, lend blob.Rights) (h blob.Handle, err error) {
	err = p.host.with(func(t *blob.Table, now time.Duration) (err error) {
		h, _, err = t.Allocate(now, p.id, size, lend)
		return err
	})
	return h, err
}

// Share makes a handle for others, of a part of a blob of the party.
func (p *Party) Share(h blob.Handle, offset, length uint64, rights blob.Rights) (part blob.Handle, err error) {
	err = p.host.with(func(t *blob.Table, _ time.Duration) (err error) {
		part, err = t.Share(p.id, h, offset, length, rights)
		return err
	})
	return part, err
}

// Slice makes a narrower handle of any.
func (p *Party) Slice(h blob.Handle, offset, length uint64, rights blob.Rights) (part blob.Handle, err error) {
	err = p.host.with(func(t *blob.Table, _ time.Duration) (err error) {
		part, err = t.Slice(h, offset, length, rights)
		return err
	})
	return part, err
}

// Free lets a blob of the party go.
func (p *Party) Free(h blob.Handle) error {
	return p.host.with(func(t *blob.Table, now time.Duration) error { return t.Free(now, p.id, h) })
}

// Accept makes a blob usable again that a crash has left half written.
func (p *Party) Accept(h blob.Handle) error {
	return p.host.with(func(t *blob.Table, _ time.Duration) error { return t.Accept(p.id, h) })
}

// Acquire takes a reference to the range of a handle: see [blob.Table.Acquire].
func (p *Party) Acquire(h blob.Handle, mode blob.Mode, lease time.Duration) (ref blob.RefID, err error) {
	err = p.host.with(func(t *blob.Table, now time.Duration) (err error) {
		ref, _, err = t.Acquire(now, p.id, h, mode, lease)
		return err
	})
	return ref, err
}

// Release gives a reference back.
func (p *Party) Release(ref blob.RefID) error {
	return p.host.with(func(t *blob.Table, now time.Duration) error { return t.Release(now, p.id, ref) })
}

// Range is borrowed: bytes that stay where they are until Release, whatever becomes of
// the party, the blob and the host.
type Range struct {
	Bytes   []byte
	File    *os.File // of its segment, for sendfile; not to be closed. nil: huge pages cannot be sent so
	Offset  int64    // of Bytes in it
	Segment Segment

	host *Host
	ref  blob.RefID
	once sync.Once
}

// Segment is the memory that a range is in.
type Segment struct {
	ID    blob.SegmentID
	Bytes []byte // all of it
}

// Borrow takes a reference to the range of a handle, so that this process may read its
// bytes ([blob.In]) or change them ([blob.InOut]) for the party.
func (p *Party) Borrow(h blob.Handle, mode blob.Mode) (*Range, error) {
	r := &Range{host: p.host}
	err := p.host.await(func(t *blob.Table, now time.Duration) error {
		ref, place, err := t.Borrow(now, p.id, h, mode)
		if err != nil {
			return err
		}
		m := p.host.segments[place.Segment]
		if r.ref, r.Offset = ref, int64(place.Offset); !m.huge {
			r.File = m.file
		}
		r.Bytes = m.bytes[place.Offset : place.Offset+place.Length : place.Offset+place.Length]
		r.Segment = Segment{place.Segment, m.bytes}
		p.host.borrowed.Add(1)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Ending says that Release comes in a moment: who wants to write the bytes waits for it.
func (r *Range) Ending() {
	_ = r.host.with(func(t *blob.Table, _ time.Duration) error {
		t.Ending(r.ref)
		return nil
	})
}

// Release gives the bytes back. Nobody may touch them any more.
func (r *Range) Release() {
	r.once.Do(func() {
		_ = r.host.with(func(t *blob.Table, now time.Duration) error {
			close(r.host.returned)
			r.host.returned = make(chan struct{})
			return t.Return(now, r.ref)
		})
		r.host.borrowed.Done()
	})
}

// Lose says that something may write to the bytes for ever: their segment is never given
// back, nor used for anything else.
func (r *Range) Lose() {
	r.once.Do(func() {
		r.host.mu.Lock()
		defer r.host.mu.Unlock()
		r.host.lost[r.Segment.ID] = true
		r.host.borrowed.Done()
	})
}
