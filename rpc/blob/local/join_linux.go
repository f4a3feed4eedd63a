package local

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/frame"
)

// Join makes clients parties of their servers' hosts, if these are on this machine, in this network
// namespace: otherwise nobody is behind the name of a socket. Arguments and results that are shorter
// than least, in bytes, had better go in messages; 0: as the server says.
func Join(least int) client.JoinBlobs {
	return func(ctx context.Context, s *client.BlobServer) (client.Blobs, error) {
		return joinAt(ctx, s, least)
	}
}

func joinAt(ctx context.Context, s *client.BlobServer, least int) (client.Blobs, error) {
	if s.Offer.Socket == "" || s.Features&frame.FeatureSharedMemory == 0 {
		return nil, client.ErrNoBlobs
	}
	p, err := shm.Dial(ctx, s.Offer.Socket, hex.EncodeToString(s.Offer.Ticket[:]))
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return nil, client.ErrNoBlobs
	case err != nil:
		return nil, err
	}
	if least == 0 {
		least = int(min(s.Offer.Least, math.MaxInt))
	}
	return &party{
		peer: p, domain: s.Offer.Domain, least: least,
		reuses: s.Features&frame.FeatureBlobReuse != 0, lent: map[uint64]*argument{},
	}, nil
}

// party is a client at one server.
type party struct {
	peer   *shm.Peer
	domain blob.Domain
	least  int
	reuses bool // the server says when an argument may be used again

	mu       sync.Mutex
	lent     map[uint64]*argument // that calls have, by the id of their blob
	kept     []*argument          // for other calls, the last used last
	sweeping bool                 // a sweep is to come
	closed   bool
}

// Least is from which length on bytes are quicker by a blob than in a message.
func (p *party) Least() int { return p.least }

// Domain implements [client.Blobs].
func (p *party) Domain() blob.Domain { return p.domain }

// Account implements [client.Blobs].
func (p *party) Account() blob.Handle { return p.peer.Account() }

// Close implements [client.Blobs].
func (p *party) Close() error {
	p.shut()
	return p.peer.Close()
}

// Leave is Close, but what is not freed yet stays mapped until it is.
func (p *party) Leave() error {
	p.shut()
	return p.peer.Leave()
}

// Put implements [client.Blobs].
func (p *party) Put(_ context.Context, size uint64, lend blob.Rights, r io.Reader) (client.Blob, error) {
	b, err := p.allocate(size, lend)
	if err != nil {
		return nil, err
	}
	o := &owned{party: p, blob: b}
	if r == nil {
		return o, nil
	}
	if n, err := io.ReadFull(r, b.Bytes()); err != nil {
		return nil, errors.Join(fmt.Errorf("blob of %d bytes, %d are there: %w", size, n, err), o.Free())
	}
	return o, nil
}

// Take implements [client.Blobs].
func (p *party) Take(_ context.Context, result blob.Arg) (client.Blob, error) {
	b, err := p.peer.Adopt(result)
	if err != nil {
		return nil, err
	}
	return &owned{party: p, blob: b}, nil
}

// Fetch copies what a call has made for this client, and Take could not map.
func (p *party) Fetch(result blob.Arg) ([]byte, error) { return p.peer.Fetch(result) }

// Discard implements [client.Blobs].
func (p *party) Discard(result blob.Handle) { _ = p.peer.Discard(result) }

// owned is a blob of this client.
type owned struct {
	party  *party
	blob   *shm.Blob
	shared [blob.Read | blob.Write + 1]blob.Handle // of all of it, by rights
	freed  bool
}

// Handle implements [client.Blob].
func (o *owned) Handle() blob.Handle { return o.blob.Handle() }

// Memory implements [client.Blob].
func (o *owned) Memory() []byte { return o.blob.Bytes() }

// Accept implements [client.Blob].
func (o *owned) Accept(context.Context) error { return o.blob.Accept() }

// Share implements [client.Blob].
func (o *owned) Share(_ context.Context, offset, length uint64, rights blob.Rights) (blob.Handle, error) {
	whole := offset == 0 && length == o.blob.Handle().Length && int(rights) < len(o.shared)
	if whole && o.shared[rights] != (blob.Handle{}) {
		return o.shared[rights], nil
	}
	h, err := o.blob.Share(offset, length, rights)
	if err == nil && whole {
		o.shared[rights] = h
	}
	return h, err
}

// ReadAt implements [client.Blob].
func (o *owned) ReadAt(b []byte, at int64) (int, error) {
	return blob.Bytes(o.blob.Bytes()).ReadAt(b, at)
}

// WriteAt implements [client.Blob].
func (o *owned) WriteAt(b []byte, at int64) (int, error) {
	return blob.Bytes(o.blob.Bytes()).WriteAt(b, at)
}

// Free implements [client.Blob].
func (o *owned) Free() error {
	if o.freed {
		return nil
	}
	o.freed = true
	return o.blob.LetGo()
}
