package local

import (
	"context"
	"fmt"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/client"
)

// Slice implements [client.Blobs].
func (p *party) Slice(_ context.Context, h blob.Handle, offset, length uint64, rights blob.Rights) (blob.Handle, error) {
	return p.peer.Slice(h, offset, length, rights)
}

// Open implements [client.Blobs].
func (p *party) Open(_ context.Context, h blob.Handle, mode blob.Mode) (client.Blob, error) {
	v, err := p.peer.Open(h, mode, 0)
	if err != nil {
		return nil, err
	}
	return &opened{party: p, handle: h, mode: mode, view: v, bytes: v.Bytes()}, nil
}

// opened is a blob of somebody else that is mapped here.
type opened struct {
	party  *party
	handle blob.Handle
	mode   blob.Mode
	view   *shm.View
	bytes  []byte // nil: it is closed
}

// Handle implements [client.Blob].
func (o *opened) Handle() blob.Handle { return o.handle }

// Memory implements [client.Blob].
func (o *opened) Memory() []byte { return o.bytes }

// Share implements [client.Blob].
func (o *opened) Share(ctx context.Context, offset, length uint64, rights blob.Rights) (blob.Handle, error) {
	return o.party.Slice(ctx, o.handle, offset, length, rights)
}

// ReadAt implements [client.Blob].
func (o *opened) ReadAt(b []byte, at int64) (int, error) { return blob.Bytes(o.bytes).ReadAt(b, at) }

// WriteAt implements [client.Blob].
func (o *opened) WriteAt(b []byte, at int64) (int, error) {
	if o.mode != blob.InOut {
		return 0, fmt.Errorf("%w: %v is open to be read", blob.ErrRights, o.handle)
	}
	return blob.Bytes(o.bytes).WriteAt(b, at)
}

// Accept implements [client.Blob].
func (o *opened) Accept(context.Context) error {
	return fmt.Errorf("%w: %v is accepted by its owner", blob.ErrRights, o.handle)
}

// Free implements [client.Blob].
func (o *opened) Free() error {
	o.bytes = nil
	return o.view.Close()
}
