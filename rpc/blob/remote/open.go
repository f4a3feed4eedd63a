package remote

import (
	"context"
	"fmt"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/client"
)

// Open implements [client.Blobs]. What is to be changed is nobody's in between: see [Client.PutAt].
func (j *joined) Open(ctx context.Context, h blob.Handle, mode blob.Mode) (client.Blob, error) {
	o := &opened{Blob: &Blob{client: j.Client, handle: h}, mode: mode}
	switch {
	case mode != blob.In && mode != blob.InOut:
		return nil, fmt.Errorf("%w: %v cannot be opened as %v", blob.ErrRights, h, mode)
	case mode == blob.InOut && h.Rights != blob.Read|blob.Write:
		return nil, fmt.Errorf("%w: %v as %v", blob.ErrRights, h, mode)
	case mode == blob.InOut:
		mode = blob.Pin
	}
	var err error
	o.view, err = j.Client.Open(ctx, h, mode, 0)
	if err != nil {
		return nil, err
	}
	return o, nil
}

// opened is a blob of somebody else.
type opened struct {
	*Blob

	mode blob.Mode
	view *View
}

// Memory implements [client.Blob]: it is elsewhere.
func (o *opened) Memory() []byte { return nil }

// Share implements [client.Blob].
func (o *opened) Share(ctx context.Context, offset, length uint64, rights blob.Rights) (blob.Handle, error) {
	return o.client.Slice(ctx, o.handle, offset, length, rights)
}

// WriteAt implements [client.Blob].
func (o *opened) WriteAt(b []byte, at int64) (int, error) {
	if o.mode != blob.InOut {
		return 0, fmt.Errorf("%w: %v is open to be read", blob.ErrRights, o.handle)
	}
	return o.Blob.WriteAt(b, at)
}

// Accept implements [client.Blob].
func (o *opened) Accept(context.Context) error {
	return fmt.Errorf("%w: %v is accepted by its owner", blob.ErrRights, o.handle)
}

// Free implements [client.Blob]. It waits: its owner may want to change it next.
func (o *opened) Free() error { return o.view.Close(o.client.ended) }
