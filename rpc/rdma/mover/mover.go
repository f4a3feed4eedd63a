// Package mover has the blobs of other machines go by RDMA: it makes an adapter of
// package rdma a [remote.Mover].
//
//	remote.Client, remote.Server ── Line, one for each connection ──▶ Endpoint
//	                             ── Memory in a segment ────────────▶ Region, as long as the segment
//	                             ── Memory elsewhere, short ────────▶ the line's stage: a Region, as long as the line
//	                             ── Memory elsewhere, long ─────────▶ Region, for that transfer
//
// What a line describes is 40 bytes. A host's segments are registered when the first
// bytes of each go by RDMA, and until the host gives them back, when it calls [Mover.LetGo].
// A registration is for one direction: no peer can read by it what only comes in, and no device writes what only
// goes out. A segment whose bytes go both ways has two, which count twice to what may be pinned.
//
// # The stage of a line
//
// Memory that is anywhere in the program may be given back to Go, and used for something
// else, as soon as its transfer is over. So what is registered of it is registered for
// that transfer: an address says nothing of the next one, and registrations cannot be
// kept by it. Up to [Stage] bytes are copied instead, to or from memory that a line has
// for that, and that is registered once for each direction, when it is needed first. A line moves one thing
// at a time, so it needs no more; and it has one peer, which can read there what it has
// been given or has given itself, and nothing of others. The stage is given back when the
// queue pair is, never while a device may write to it.
//
// A copy costs time for each byte, a registration for each transfer and each page, and
// less for these: beyond Stage it is the cheaper one, and spares the memory.
//
// It keeps no other state of its own; what a crash loses is said in package rdma.
package mover

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/rdma"
	"rpcpool.dev/rpc/rdma/verbs"
)

// Mover moves blobs by an adapter.
type Mover struct {
	adapter *rdma.Adapter
	why     error
}

var _ remote.Mover = (*Mover)(nil)

// New returns the mover of an adapter; without one, a mover that fails, and says why.
func New(a *rdma.Adapter, why error) *Mover {
	if a == nil && why == nil {
		why = rdma.ErrNoRDMA
	}
	return &Mover{a, why}
}

// Ready implements [remote.Mover]. What becomes of a line only who makes it learns.
func (m *Mover) Ready() error {
	if m.adapter == nil {
		return m.why
	}
	return nil
}

// Line implements [remote.Mover].
func (m *Mover) Line() (remote.Line, error) {
	if m.adapter == nil {
		return nil, m.why
	}
	e, err := m.adapter.NewEndpoint()
	if err != nil {
		return nil, err
	}
	return &line{adapter: m.adapter, endpoint: e}, nil
}

// Reason implements [remote.Mover]: it is an [rdma.Reason].
func (m *Mover) Reason(err error) string { return string(rdma.ReasonOf(err)) }

// LetGo implements [remote.Mover].
func (m *Mover) LetGo(segment []byte) error {
	if m.adapter == nil {
		return nil
	}
	return m.adapter.Forget(segment)
}

type line struct {
	adapter  *rdma.Adapter
	endpoint *rdma.Endpoint
	stage    stage
}

// Offer implements [remote.Line].
func (l *line) Offer() []byte { return l.endpoint.Offer() }

// Connect implements [remote.Line].
func (l *line) Connect(offer []byte) error { return l.endpoint.Connect(offer) }

// Err implements [remote.Line].
func (l *line) Err() error { return l.endpoint.Err() }

// Close implements [remote.Line].
func (l *line) Close() error {
	err := l.endpoint.Close() // which ends pulls, and what the peer reads
	return stuck(errors.Join(err, l.stage.close()))
}

// staged tells whether memory is copied, and not registered.
func staged(m remote.Memory) bool {
	return m.Segment == nil && 0 < len(m.Bytes) && len(m.Bytes) <= Stage
}

// Describe implements [remote.Line].
func (l *line) Describe(m remote.Memory) (where []byte, over func(), err error) {
	if staged(m) {
		if d, err := l.stage.describe(l.adapter, m.Bytes); !errors.Is(err, errNoStage) {
			return d.Append(nil), func() {}, err
		}
	}
	r, offset, over, err := l.region(m, verbs.Source)
	if err != nil {
		return nil, nil, err
	}
	d, err := r.Describe(offset, uint64(len(m.Bytes)))
	if err != nil {
		over()
		return nil, nil, err
	}
	return d.Append(nil), over, nil
}

// Pull implements [remote.Line].
func (l *line) Pull(ctx context.Context, m remote.Memory, where []byte) error {
	d, err := rdma.ParseDescriptor(where)
	if err == nil && d.Length != uint64(len(m.Bytes)) {
		err = &rdma.Error{Reason: rdma.Malformed, Err: fmt.Errorf("%d bytes are described, %d are wanted", d.Length, len(m.Bytes))}
	}
	if err != nil {
		return err
	}
	if staged(m) {
		if err := l.stage.pull(ctx, l, m.Bytes, d); !errors.Is(err, errNoStage) {
			return stuck(err)
		}
	}
	r, offset, over, err := l.region(m, verbs.Sink)
	if err != nil {
		return err
	}
	defer over()
	return stuck(l.endpoint.Pull(ctx, d, r, offset))
}

// region finds where memory is registered, or registers it until over is called.
func (l *line) region(m remote.Memory, rights verbs.Rights) (r *rdma.Region, offset uint64, over func(), err error) {
	if m.Segment == nil {
		if r, err = l.adapter.RegisterOnce(m.Bytes, rights); err != nil {
			return nil, 0, nil, err
		}
		return r, 0, func() { _ = r.Close() }, nil // if it is stuck the adapter keeps it, and counts it
	}
	r, err = l.adapter.Register(m.Segment, rights)
	return r, offsetOf(m.Segment, m.Bytes), func() {}, err
}

// offsetOf is where a part begins in its segment.
func offsetOf(segment, part []byte) uint64 {
	//nolint:gosec // they are compared, no more
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(part))) - uintptr(unsafe.Pointer(unsafe.SliceData(segment))))
}

// stuck says it in the words of package remote, too.
func stuck(err error) error {
	if errors.Is(err, rdma.ErrStuck) {
		return fmt.Errorf("%w: %w", remote.ErrStuck, err)
	}
	return err
}
