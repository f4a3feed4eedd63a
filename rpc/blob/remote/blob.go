package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"rpcpool.dev/rpc/blob"
)

// Blob is one that this client owns. It is not safe for concurrent use.
type Blob struct {
	client *Client
	handle blob.Handle
	freed  bool
}

// Allocate makes a blob. Others may have it when it is shared, and never with more than
// the rights in lend: see [blob.Table.Allocate].
func (c *Client) Allocate(ctx context.Context, size uint64, lend blob.Rights) (_ *Blob, err error) {
	number := c.begin()
	defer func() { c.done(number, err) }()
	a, err := c.ask(ctx, "allocate", &message{Op: opAllocate, Number: number, Length: size, Rights: lend, Time: c.retire()})
	if err != nil {
		return nil, err
	}
	return c.Adopt(a.Handle), nil
}

// Longer makes a blob of size bytes that begins with the first n of one that is there: they are copied where they are. It fails
// with [errors.ErrUnsupported] if the server does not do that.
func (c *Client) Longer(ctx context.Context, b *Blob, n, size uint64, lend blob.Rights) (_ *Blob, err error) {
	c.mu.Lock()
	copies := c.copies
	c.mu.Unlock()
	if !copies {
		return nil, fmt.Errorf("copy at the server: %w", errors.ErrUnsupported)
	}
	number := c.begin()
	defer func() { c.done(number, err) }()
	m := message{Op: opCopy, Number: number, Handle: b.handle, Offset: n, Length: size, Rights: lend, Time: c.retire()}
	a, err := c.ask(ctx, "copy", &m)
	if err != nil {
		return nil, err
	}
	return c.Adopt(a.Handle), nil
}

// Put makes a blob of bytes.
func (c *Client) Put(ctx context.Context, b []byte, lend blob.Rights) (*Blob, error) {
	if c.opts.Streams > 1 && len(b) >= 2*leastPart {
		return c.putParts(ctx, b, lend)
	}
	return c.make(ctx, &source{size: uint64(len(b)), bytes: b}, lend)
}

// PutFrom makes a blob of the next size bytes of a reader. If it is an [io.Seeker], too, the
// transfer outlives a cut.
func (c *Client) PutFrom(ctx context.Context, r io.Reader, size uint64, lend blob.Rights) (*Blob, error) {
	s, err := newSource(r, size)
	if err != nil {
		return nil, err
	}
	if s.r == nil && size > 0 {
		return c.Put(ctx, s.bytes, lend)
	}
	return c.make(ctx, s, lend)
}

func (c *Client) make(ctx context.Context, s *source, lend blob.Rights) (*Blob, error) {
	h, err := c.transfer(ctx, target{length: s.size, lend: lend}, s)
	if err != nil {
		return nil, err
	}
	return c.Adopt(h), nil
}

// Adopt takes what a call has made for this client, by the handle that came with the
// reply.
func (c *Client) Adopt(result blob.Handle) *Blob {
	c.hold()
	return &Blob{client: c, handle: result}
}

// Slice makes a narrower handle of any.
func (c *Client) Slice(ctx context.Context, h blob.Handle, offset, length uint64, rights blob.Rights) (blob.Handle, error) {
	a, err := c.ask(ctx, "slice", &message{Op: opSlice, Handle: h, Offset: offset, Length: length, Rights: rights})
	return a.Handle, err
}

// Handle is the owner's. Others cannot use it unless something of the blob is shared.
func (b *Blob) Handle() blob.Handle { return b.handle }

// Size is the length of the blob, bytes.
func (b *Blob) Size() uint64 { return b.handle.Length }

// Share makes a handle for others.
func (b *Blob) Share(ctx context.Context, offset, length uint64, rights blob.Rights) (blob.Handle, error) {
	a, err := b.client.ask(ctx, "share", &message{Op: opShare, Handle: b.handle, Offset: offset, Length: length, Rights: rights})
	return a.Handle, err
}

// Read reads bytes at an offset, as many as there is room for.
func (b *Blob) Read(ctx context.Context, p []byte, offset uint64) error {
	return b.client.Get(ctx, b.handle, offset, p)
}

// Write changes bytes at an offset.
func (b *Blob) Write(ctx context.Context, p []byte, offset uint64) error {
	return b.client.PutAt(ctx, b.handle, offset, p)
}

// PutAt changes bytes at an offset of a handle's range, which nobody else may use meanwhile.
func (c *Client) PutAt(ctx context.Context, h blob.Handle, offset uint64, b []byte) error {
	size := uint64(len(b))
	_, err := c.transfer(ctx, target{handle: h, offset: offset, length: size}, &source{size: size, bytes: b})
	return err
}

// ReadAt implements [io.ReaderAt].
func (b *Blob) ReadAt(p []byte, offset int64) (int, error) {
	return readAt(b.client, b.handle, p, offset)
}

// WriteAt implements [io.WriterAt].
func (b *Blob) WriteAt(p []byte, offset int64) (int, error) {
	if offset < 0 || uint64(offset)+uint64(len(p)) > b.handle.Length {
		return 0, fmt.Errorf("%w: %d bytes at %d of %v", blob.ErrRange, len(p), offset, b.handle)
	}
	if err := b.Write(context.Background(), p, uint64(offset)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteTo implements [io.WriterTo].
func (b *Blob) WriteTo(w io.Writer) (int64, error) {
	if err := b.client.GetTo(context.Background(), b.handle, 0, b.handle.Length, w); err != nil {
		return 0, err
	}
	return int64(b.handle.Length), nil
}

// Accept makes the blob usable again that a crash has left half written.
func (b *Blob) Accept(ctx context.Context) error {
	_, err := b.client.ask(ctx, "accept", &message{Op: opAccept, Handle: b.handle})
	return err
}

// Free lets the blob go. Others keep it as long as they use it. It may be called again.
func (b *Blob) Free(ctx context.Context) error {
	if b.freed {
		return nil
	}
	_, err := b.client.ask(ctx, "free", &message{Op: opFree, Handle: b.handle})
	return b.client.over(ctx, err, &b.freed)
}

// Drop is Free that does not wait.
func (b *Blob) Drop() {
	if b.freed {
		return
	}
	b.freed = true
	again := &Blob{client: b.client, handle: b.handle}
	if !b.client.spawn(func() { _ = again.Free(b.client.ended) }) {
		b.client.unhold() // it went with the client
	}
}

// over ends that something is held, unless it may be tried again.
func (c *Client) over(ctx context.Context, err error, over *bool) error {
	if err != nil && ctx.Err() != nil && !isFinal(err) {
		return err
	}
	*over = true
	c.unhold()
	if errors.Is(err, blob.ErrGone) || errors.Is(err, ErrClosed) || errors.Is(err, ErrLost) {
		return nil // an answer was lost, or it went with the client
	}
	return err
}

// View is access to what somebody else owns. It is not safe for concurrent use.
type View struct {
	client *Client
	handle blob.Handle
	number uint64
	closed bool
}

// Open takes a reference to the range of a handle, to keep it ([blob.Pin]) or to read it
// ([blob.In]) until Close, or for as long as the lease says if that is not 0. To change it,
// see [Client.PutAt].
func (c *Client) Open(ctx context.Context, h blob.Handle, mode blob.Mode, lease time.Duration) (*View, error) {
	if mode != blob.Pin && mode != blob.In {
		return nil, fmt.Errorf("%w: %v cannot be opened as %v", blob.ErrRights, h, mode)
	}
	c.mu.Lock()
	c.number++
	number := c.number
	c.mu.Unlock()
	v := &View{client: c, handle: h, number: number}
	c.hold()
	m := message{Op: opAcquire, Number: number, Handle: h, Mode: mode, Time: uint64(max(lease, 0).Milliseconds())}
	_, err := c.ask(ctx, "open", &m)
	if err == nil {
		return v, nil
	}
	if isFinal(err) || !c.spawn(func() { _ = v.Close(c.ended) }) { // it may have been opened
		c.unhold()
	}
	return nil, err
}

// ReadAt implements [io.ReaderAt].
func (v *View) ReadAt(p []byte, offset int64) (int, error) {
	return readAt(v.client, v.handle, p, offset)
}

// Close gives the reference back. It may be called again.
func (v *View) Close(ctx context.Context) error {
	if v.closed {
		return nil
	}
	_, err := v.client.ask(ctx, "close", &message{Op: opRelease, Number: v.number})
	return v.client.over(ctx, err, &v.closed)
}

func readAt(c *Client, h blob.Handle, p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("%w: offset %d", blob.ErrRange, offset)
	}
	left := h.Length - min(h.Length, uint64(offset))
	n := min(uint64(len(p)), left)
	if n > 0 {
		if err := c.Get(context.Background(), h, uint64(offset), p[:n]); err != nil {
			return 0, err
		}
	}
	if n < uint64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}
