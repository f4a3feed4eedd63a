package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/client"
)

// Share makes a handle for others: of length bytes of the blob at an offset, with some of the rights that
// it may be lent with. That is plain data ([blob.Handle]), which may be an argument or a result of any call.
// Who has it can read these bytes, or with [blob.Write] change them, by [BlobIn], [BlobInOut] and
// [Client.OpenBlob], until the owner frees the blob. It can make a narrower one of it ([Client.SliceBlob]), and no
// wider one: a handle that is not as its server has made it is refused.
func (b *Blob) Share(ctx context.Context, offset, length uint64, rights blob.Rights) (blob.Handle, error) {
	if b.blob == nil {
		return blob.Handle{}, errors.New("blob is not at a server")
	}
	return b.blob.Share(ctx, offset, length, rights) //nolint:wrapcheck // it says all
}

// SliceBlob makes a narrower handle of one that somebody else may have made: of length bytes at an offset of
// its range, with some of its rights. The server is asked; options say which one that is, if there are several and this
// client has no blobs there.
func (c *Client) SliceBlob(ctx context.Context, h blob.Handle, offset, length uint64, rights blob.Rights, opts ...CallOption) (blob.Handle, error) {
	_, party, err := c.owner(ctx, h, opts)
	if err != nil {
		return blob.Handle{}, err
	}
	return party.Slice(ctx, h, offset, length, rights) //nolint:wrapcheck // it says all
}

// OpenBlob opens what a handle is of, to read it ([blob.In]), or to read and change it while nobody else uses
// it ([blob.InOut]). It is to be freed, which gives it back to its owner. While it is open to be read, nobody can
// change it. If its owner frees it, what is mapped here stays what it is, and nothing else can be done with it.
//
// Where the server shares no memory with this process, WriteAt has the bytes alone for as long as it takes, each time.
func (c *Client) OpenBlob(ctx context.Context, h blob.Handle, mode blob.Mode, opts ...CallOption) (*Blob, error) {
	server, party, err := c.owner(ctx, h, opts)
	if err != nil {
		return nil, err
	}
	b, err := party.Open(ctx, h, mode)
	if err != nil {
		return nil, fmt.Errorf("open %v: %w", h, err)
	}
	c.handed.Store(true)
	return &Blob{client: c, server: server, blob: b}, nil
}

// BlobIn is what a handle is of as an argument that the handler reads.
func (c *Client) BlobIn(h blob.Handle) BlobArg { return c.handleArg(h, blob.In, false) }

// BlobInOut is what a handle is of as an argument that the handler reads and changes, while nobody else uses
// it: see [Blob.InOut].
func (c *Client) BlobInOut(h blob.Handle) BlobArg { return c.handleArg(h, blob.InOut, false) }

// BlobSnapshot is BlobInOut, but unless the call succeeds, the bytes are what they were before it.
func (c *Client) BlobSnapshot(h blob.Handle) BlobArg { return c.handleArg(h, blob.InOut, true) }

func (c *Client) handleArg(h blob.Handle, mode blob.Mode, snapshot bool) BlobArg {
	c.handed.Store(true)
	return BlobArg{arg: blob.Arg{Handle: h, Mode: mode, Snapshot: snapshot}}
}

// owner finds the server of a handle, and what this client is there.
func (c *Client) owner(ctx context.Context, h blob.Handle, opts []CallOption) (server string, _ client.Blobs, err error) {
	if server, party := c.c.Has(h.Domain); party != nil {
		return server, party, nil
	}
	var u client.Call
	for _, o := range opts {
		o(&u)
	}
	server, party, err := c.find(ctx, &u, h.Domain)
	if err == nil && party == nil {
		err = blob.ErrDomain
	}
	if err != nil {
		return "", nil, fmt.Errorf("server of %v: %w", h, err)
	}
	return server, party, nil
}

// find joins the servers that a call may go to, until one is of a domain. It returns nil if none is.
func (c *Client) find(ctx context.Context, u *client.Call, d blob.Domain) (server string, _ client.Blobs, err error) {
	var tried []string
	for {
		server, party, failed := c.c.Blobs(ctx, u, tried)
		if failed != nil && err == nil {
			err = failed
		}
		switch {
		case party != nil && party.Domain() == d:
			return server, party, nil
		case server == "" || slices.Contains(tried, server) || ctx.Err() != nil:
			if len(tried) > 0 && errors.Is(err, client.ErrNoBlobs) { // there was another one that has some
				err = nil
			}
			return "", nil, err //nolint:wrapcheck // it names the server
		}
		tried = append(tried, server)
	}
}
