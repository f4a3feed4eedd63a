package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/codec"
)

// Blob is memory at a server that this client has: allocated, or made by a call. It is an
// argument of calls to that server by In, InOut and Snapshot; the handler has its bytes
// as a [BlobArg]. It is not safe for concurrent use.
//
//	buffer, err := c.AllocateBlob(ctx, 64)
//	n, err := rpc.Call[int](ctx, c, "snprintf", Args{buffer.InOut(), buffer.Sizeof(), "The answer is %d", 42})
//	fmt.Println(string(buffer.Bytes()[:n]))
//	err = buffer.Free()
type Blob struct {
	client *Client
	server string
	blob   client.Blob // nil: a call is to make it, or it is plain memory
	plain  []byte
	size   uint64 // that a call may make it
}

// ErrNoBlobs means that a server has no blobs for a client.
var ErrNoBlobs = client.ErrNoBlobs

// AllocateBlob makes a blob of size bytes, zeros, at the server that a call with these options
// would go to. It is the client's until Free, or until the client is closed or dies.
func (c *Client) AllocateBlob(ctx context.Context, size uint64, opts ...CallOption) (*Blob, error) {
	return c.putBlob(ctx, size, blob.Read|blob.Write, nil, opts)
}

// PutBlob makes a blob of the size bytes that r has. Others cannot change it, whatever they do.
func (c *Client) PutBlob(ctx context.Context, size uint64, r io.Reader, opts ...CallOption) (*Blob, error) {
	return c.putBlob(ctx, size, blob.Read, r, opts)
}

func (c *Client) putBlob(ctx context.Context, size uint64, lend blob.Rights, r io.Reader, opts []CallOption) (*Blob, error) {
	var u client.Call
	for _, o := range opts {
		o(&u)
	}
	server, party, err := c.c.Blobs(ctx, &u, nil)
	if err != nil {
		return nil, fmt.Errorf("blob of %d bytes: %w", size, err)
	}
	b, err := party.Put(ctx, size, lend, r)
	if err != nil {
		return nil, fmt.Errorf("blob of %d bytes: %w", size, err)
	}
	c.handed.Store(true)
	return &Blob{client: c, server: server, blob: b}, nil
}

// ResultBlob is a blob that a call is to make, of at most size bytes: give its Out to one. It is
// nothing before that has succeeded.
func (c *Client) ResultBlob(size uint64) *Blob {
	c.handed.Store(true)
	return &Blob{client: c, size: size}
}

// CallBlob is [Call], but leaves the result where its server has made it, if that is in a blob.
func (c *Client) CallBlob(ctx context.Context, method string, args any, opts ...CallOption) (*Blob, error) {
	b := &Blob{}
	u := &client.Call{Method: method, User: &wants{all: b}}
	for _, o := range opts {
		o(u)
	}
	if err := c.call(ctx, u, args, &b.plain); err != nil {
		return nil, err
	}
	c.handed.Store(true)
	return b, nil
}

// Sizeof is how long the blob is, bytes.
func (b *Blob) Sizeof() int {
	if b.blob == nil {
		return len(b.plain)
	}
	return int(b.blob.Handle().Length)
}

// Bytes is the blob's memory, until Free; nil if it is at a server elsewhere. While a call
// changes it, it is not to be touched. When the server is gone, they can still be touched, but
// may be zeros; Free says so.
func (b *Blob) Bytes() []byte {
	if b.blob == nil {
		return b.plain
	}
	return b.blob.Memory()
}

// ReadAt implements [io.ReaderAt], wherever the blob is.
func (b *Blob) ReadAt(p []byte, at int64) (int, error) {
	if b.blob != nil {
		return b.blob.ReadAt(p, at) //nolint:wrapcheck // it says all
	}
	return blob.Bytes(b.plain).ReadAt(p, at) //nolint:wrapcheck // it says all
}

// WriteAt implements [io.WriterAt].
func (b *Blob) WriteAt(p []byte, at int64) (int, error) {
	if b.blob == nil {
		return 0, fmt.Errorf("%w: it is not at a server", blob.ErrRights)
	}
	return b.blob.WriteAt(p, at) //nolint:wrapcheck // it says all
}

// Server is the id of the server where the blob is: calls that have it as an argument go there.
func (b *Blob) Server() string { return b.server }

// Accept makes a blob usable again that a crash has left half written.
func (b *Blob) Accept(ctx context.Context) error {
	if b.blob == nil {
		return nil
	}
	return b.blob.Accept(ctx) //nolint:wrapcheck // it says all
}

// Free lets the blob go, and does not wait until the server knows: calls that go there at the same time
// may still find it. Handlers that have it keep it as long as they run.
func (b *Blob) Free() error {
	if b.plain = nil; b.blob == nil {
		return nil
	}
	return b.blob.Free() //nolint:wrapcheck // it says all
}

// In is the blob as an argument that the handler reads.
func (b *Blob) In() BlobArg { return b.arg(blob.In, blob.Read, false) }

// InOut is the blob as an argument that the handler reads and changes, while nobody else uses it.
// A crash leaves it half written: the call is not run again then, and the blob is of no use before
// it is accepted.
func (b *Blob) InOut() BlobArg { return b.arg(blob.InOut, blob.Read|blob.Write, false) }

// Snapshot is InOut, but unless the call succeeds, the bytes are what they were before it.
func (b *Blob) Snapshot() BlobArg { return b.arg(blob.InOut, blob.Read|blob.Write, true) }

// Out is the blob of [Client.ResultBlob] as an argument that the handler makes.
func (b *Blob) Out() BlobArg {
	if b.client == nil || b.blob != nil {
		return BlobArg{err: errors.New("blob is there already, it is no result")}
	}
	id := b.client.lastOut.Add(1)
	b.client.outs.Store(id, b)
	return BlobArg{arg: blob.Arg{Handle: blob.Handle{Rights: blob.Pay}, Mode: blob.Out, Segment: 1, Offset: id}}
}

func (b *Blob) arg(mode blob.Mode, rights blob.Rights, snapshot bool) BlobArg {
	if b.blob == nil {
		return BlobArg{err: errors.New("blob is not at a server")}
	}
	h, err := b.blob.Share(context.Background(), 0, b.blob.Handle().Length, rights)
	return BlobArg{arg: blob.Arg{Handle: h, Mode: mode, Snapshot: snapshot}, err: err}
}

// BlobArg is a blob among the arguments of a call: a value, or a field of one, that both sides
// declare. A caller gets it of a [Blob], or of a handle ([BlobIn], [BlobInOut]); a handler has its bytes.
type BlobArg struct {
	arg    blob.Arg
	err    error
	bytes  []byte
	number int // of the argument, from 1; 0: it is none
	made   *blob.Arg
}

// Bytes is the blob's memory, mapped and not copied: the handler's until it returns. If it is an
// argument that is only read, writing to it ends the process.
func (a *BlobArg) Bytes() []byte { return a.bytes }

// Handle is what others may be given, so that they read the blob ([blob.Read]) or change it, too: as the
// caller lent it. It is good until the owner frees the blob, also when the handler has returned. While the handler
// has the blob to change it, nobody else can use it.
func (a *BlobArg) Handle() blob.Handle { return a.arg.Handle }

// SetLen says how long a result is, if it is shorter than the caller allows.
func (a *BlobArg) SetLen(n int) {
	if a.made != nil && n >= 0 && n <= len(a.bytes) {
		a.made.Handle.Length = uint64(n)
	}
}

// MarshalCBOR implements [cbor.Marshaler]: it is a [codec.BlobRef].
func (a BlobArg) MarshalCBOR() ([]byte, error) {
	switch {
	case a.err != nil:
		return nil, fmt.Errorf("blob as an argument: %w", a.err)
	case a.arg.Mode == blob.Pin:
		return []byte{cborNull}, nil
	}
	return cbor.Marshal(cbor.Tag{Number: codec.TagBlob, Content: blob.AppendArgs(nil, []blob.Arg{a.arg})}) //nolint:wrapcheck // the codec says all
}

// UnmarshalCBOR implements [cbor.Unmarshaler].
func (a *BlobArg) UnmarshalCBOR(b []byte) error {
	*a = BlobArg{}
	if len(b) == 1 && b[0] == cborNull {
		return nil
	}
	var t cbor.RawTag
	var number []byte
	if err := cbor.Unmarshal(b, &t); err != nil {
		return fmt.Errorf("blob as an argument: %w", err)
	}
	if err := cbor.Unmarshal(t.Content, &number); err != nil || t.Number != codec.TagBlob || len(number) != 1 {
		return errors.New("blob as an argument: it is no reference to one")
	}
	a.number = int(number[0]) + 1
	return nil
}

// encodeBlobs puts the blobs that are among encoded arguments in front of them, and sends the call
// to where they are.
func (c *Client) encodeBlobs(u *client.Call) error {
	var args []blob.Arg
	w := &wants{}
	body, err := codec.ReplaceBlobs(u.Args, func(ref codec.BlobRef) (codec.BlobRef, error) {
		list, rest, err := blob.ParseArgs(ref, 1)
		if err != nil || len(rest) > 0 || len(args) == blob.MostArgs-1 {
			return nil, fmt.Errorf("blob %d: %w", len(args), errors.Join(err, blob.ErrMalformed))
		}
		a := list[0]
		if a.Mode == blob.Out {
			out, ok := c.outs.LoadAndDelete(a.Offset)
			if !ok {
				return nil, fmt.Errorf("%w: a result is made by one call only", blob.ErrGone)
			}
			b, _ := out.(*Blob)
			a.Size, a.Segment, a.Offset = b.size, 0, 0
			w.outs = append(w.outs, b)
		}
		args = append(args, a)
		return codec.BlobRef{byte(len(args) - 1)}, nil
	})
	if err != nil || len(args) == 0 {
		return err //nolint:wrapcheck // encode does
	}
	if err := c.placeBlobs(u, args); err != nil {
		return err
	}
	if has := wantsOf(u); has != nil {
		has.outs = w.outs
	} else {
		u.User = w
	}
	u.Args = append(blob.AppendArgs(make([]byte, 0, len(args)*blob.ArgLen+len(body)), args), body...)
	u.Blobs = uint8(len(args))
	return nil
}

// placeBlobs sends a call to the server where its blobs are.
func (c *Client) placeBlobs(u *client.Call, args []blob.Arg) error {
	server := u.Server
	var party client.Blobs
	for i, a := range args {
		if a.Mode == blob.Out {
			continue
		}
		at, p := c.c.Has(a.Handle.Domain)
		if p == nil { // of somebody else, and this client has nothing there yet
			at, p, _ = c.find(context.Background(), u, a.Handle.Domain)
		}
		if p == nil || server != "" && at != server {
			return fmt.Errorf("blob %d: %w: it is not at the server that the call goes to", i, blob.ErrDomain)
		}
		server, party = at, p
	}
	if party == nil {
		var err error
		if server, party, err = c.c.Blobs(context.Background(), u, nil); err != nil {
			return err //nolint:wrapcheck // encode does
		}
	}
	for i := range args {
		if args[i].Mode == blob.Out {
			args[i].Handle = party.Account()
		}
	}
	u.Server = server
	return nil
}
