package remote

import (
	"context"
	"errors"
	"io"
	"math"
	"net"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

// Times is how much longer than on one machine arguments and results have to be for blobs to be quicker than
// messages.
const Times = 16

// Join makes clients of calls parties of their servers' hosts, wherever these are. What
// the options say of the way to a server, and who the client is, is filled in. Arguments
// that are shorter than least, in bytes, had better go in messages, 0: that are shorter than [Times] what the
// server says for clients of its own machine; than past, while bytes go past the connection.
func Join(o Options, least, past int) client.JoinBlobs {
	return func(ctx context.Context, s *client.BlobServer) (client.Blobs, error) {
		if s.Features&frame.FeatureBulk == 0 {
			return nil, client.ErrNoBlobs
		}
		o := o
		o.Name, o.Token = s.Name, s.Token
		o.Dial = func(ctx context.Context) (net.Conn, error) {
			nc, _, err := conn.DialEndpoint(ctx, conn.PoolOptions{Dial: s.Dial}, s.Endpoint)
			return nc, err
		}
		c, err := Dial(ctx, o)
		if err != nil {
			return nil, err
		}
		if c.Domain() != s.Offer.Domain { // there is another server behind the address
			return nil, errors.Join(client.ErrNoBlobs, c.Close())
		}
		least := least
		if least == 0 {
			least = int(min(s.Offer.Least, math.MaxInt/Times)) * Times
		}
		return &joined{c, least, past, s.Facts}, nil
	}
}

// joined is a client at one server.
type joined struct {
	*Client

	least, past int
	facts       client.BlobFacts
}

// Least is from which length on bytes are quicker by a blob than in a message, now.
func (j *joined) Least() int {
	if j.goes() {
		return j.past
	}
	return j.least
}

// Put implements [client.Blobs].
func (j *joined) Put(ctx context.Context, size uint64, lend blob.Rights, r io.Reader) (client.Blob, error) {
	var b *Blob
	var err error
	if r == nil {
		b, err = j.Allocate(ctx, size, lend)
	} else {
		b, err = j.PutFrom(ctx, r, size, lend)
	}
	if err != nil {
		return nil, err
	}
	return &owned{Blob: b}, nil
}

// Longer makes a blob that begins with what there is of another one of this client. It fails with
// [errors.ErrUnsupported] where that would have to come here and go back.
func (j *joined) Longer(ctx context.Context, of client.Blob, n, size uint64, lend blob.Rights) (client.Blob, error) {
	o, is := of.(*owned)
	if !is {
		return nil, errors.ErrUnsupported
	}
	b, err := j.Client.Longer(ctx, o.Blob, n, size, lend)
	if err != nil {
		return nil, err
	}
	return &owned{Blob: b}, nil
}

// Take implements [client.Blobs].
func (j *joined) Take(_ context.Context, result blob.Arg) (client.Blob, error) {
	return &owned{Blob: j.Adopt(result.Handle)}, nil
}

// Discard implements [client.Blobs].
func (j *joined) Discard(result blob.Handle) { j.Adopt(result).Drop() }

// owned is a blob of this client.
type owned struct {
	*Blob

	shared [blob.Read | blob.Write + 1]blob.Handle // of all of it, by rights
}

// Memory implements [client.Blob]: it is elsewhere.
func (o *owned) Memory() []byte { return nil }

// Share implements [client.Blob].
func (o *owned) Share(ctx context.Context, offset, length uint64, rights blob.Rights) (blob.Handle, error) {
	whole := offset == 0 && length == o.Size() && int(rights) < len(o.shared)
	if whole && o.shared[rights] != (blob.Handle{}) {
		return o.shared[rights], nil
	}
	h, err := o.Blob.Share(ctx, offset, length, rights)
	if err == nil && whole {
		o.shared[rights] = h
	}
	return h, err
}

// Free implements [client.Blob]. It does not wait: nobody needs to hear of it.
func (o *owned) Free() error {
	o.Drop()
	return nil
}
