// Package mover has the blobs of other machines go by RDMA: it makes an adapter of
// package rdma a [remote.Mover].
//
//	remote.Client, remote.Server ── Line, one for each connection ──▶ Endpoint
//	                             ── Memory in a segment ────────────▶ Region, as long as the segment
//	                             ── Memory elsewhere ───────────────▶ Region, for that transfer
//
// What a line describes is 40 bytes. A host's segments are registered when the first
// bytes of each go by RDMA, for both directions, and until the host gives them back, when
// it calls [Mover.LetGo].
//
// It keeps no state of its own; what a crash loses is said in package rdma.
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
	return &line{m.adapter, e}, nil
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
}

// Offer implements [remote.Line].
func (l *line) Offer() []byte { return l.endpoint.Offer() }

// Connect implements [remote.Line].
func (l *line) Connect(offer []byte) error { return l.endpoint.Connect(offer) }

// Err implements [remote.Line].
func (l *line) Err() error { return l.endpoint.Err() }

// Close implements [remote.Line].
func (l *line) Close() error { return stuck(l.endpoint.Close()) }

// Describe implements [remote.Line].
func (l *line) Describe(m remote.Memory) (where []byte, over func(), err error) {
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
	r, err = l.adapter.Register(m.Segment, verbs.Source|verbs.Sink)
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
