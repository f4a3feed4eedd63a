package rpc

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/session"
)

const (
	// LongBlob is from which length on arguments and results go by blobs to and from the worker
	// processes of a server that shares memory with this process, bytes.
	LongBlob = 64 << 10
	// InProcessBlob is the same where the handlers are in the server's own process. What is shorter
	// is there sooner in a message, which has one way to go, and not two: see docs/benchmarks.md.
	InProcessBlob = 512 << 10
)

// FarBlob is from which length on arguments and results go by blobs to and from a server that shares no
// memory with this process, and runs handlers in its own, bytes. Below it a message is quicker: see
// docs/benchmarks.md.
const FarBlob = remote.Times * InProcessBlob

// FarWorkerBlob is the same for a server that has worker processes.
const FarWorkerBlob = remote.Times * LongBlob

// joinFar joins the hosts of servers that share no memory with this process.
func (o *ClientOptions) joinFar() client.JoinBlobs {
	far := o.FarBlobs
	far.Log = cmp.Or(far.Log, o.Log)
	return remote.Join(far, o.FarThreshold, cmp.Or(o.FarThreshold, LongBlob))
}

// errShort means that bytes are quicker in the message.
var errShort = errors.New("too short for a blob")

// mostTries is how many servers are tried for a call whose arguments are put there.
const mostTries = 3

// BlobsMoved tells how the bytes of blobs went to and from servers that share no memory with
// this process, of those that there are now: past the connection, as by RDMA, and why not.
func (c *Client) BlobsMoved() remote.Moved {
	var all remote.Moved
	c.c.EachBlobs(func(b client.Blobs) {
		if far, is := b.(interface{ Moved() remote.Moved }); is {
			all.Add(far.Moved())
		}
	})
	return all
}

// wants are what a caller wants of the blobs of a call.
type wants struct {
	outs   []*Blob // that the call makes, in their order
	all    *Blob   // the result as it is; nil: its bytes
	source *source // of the arguments; nil: they are in memory
}

func wantsOf(u *client.Call) *wants {
	w, _ := u.User.(*wants)
	return w
}

// byBlob tells whether the arguments of a call go into a blob: not if the server is to put
// results into them.
func (c *Client) byBlob(u *client.Call) bool {
	return c.mayBlob(u) && (len(u.Args) >= c.threshold || sourceOf(u) != nil)
}

// mayBlob is byBlob for arguments that are long enough.
func (c *Client) mayBlob(u *client.Call) bool {
	return c.threshold > 0 && len(u.Needs) == 0 && !u.Hedge && !u.OneWay && u.Lane == 0
}

// attemptOnce makes one attempt at a call, whose arguments and result may be blobs.
func (c *Client) attemptOnce(ctx context.Context, u *client.Call) {
	if s := sourceOf(u); s != nil {
		c.readAndDo(ctx, u, s)
	} else {
		c.attemptWith(ctx, u)
	}
	c.result(ctx, u)
}

// attemptWith makes one attempt with arguments that are in memory.
func (c *Client) attemptWith(ctx context.Context, u *client.Call) {
	if c.byBlob(u) {
		c.putAndDo(ctx, u)
	} else {
		c.c.Do(ctx, u)
	}
}

// putAndDo puts the arguments of a call into a blob at the server that it goes to. If that does not
// take it, another one may. Where there are no blobs, they go in the message.
func (c *Client) putAndDo(ctx context.Context, u *client.Call) {
	args, named, pinned, servers := u.Args, u.Blobs, u.Server, 0
	var avoid []string
	for {
		server, at, done, err := c.put(ctx, u, args, avoid)
		if past := (*remote.MoverError)(nil); errors.As(err, &past) { // no other way is allowed
			u.Outcome = session.Outcome{Code: session.Refused, Execution: session.NotExecuted}
			u.Text, u.Retry, u.Reply = err.Error(), -1, u.Reply[:0]
			return
		}
		if err != nil {
			c.c.Do(ctx, u)
			u.Attempts += servers
			return
		}
		before := args[:int(named)*blob.ArgLen]
		u.Args = append(append(make([]byte, 0, len(before)+blob.ArgLen), before...), at...)
		u.Blobs, u.Server = named+1, server
		c.c.Do(ctx, u)
		done(u.Outcome.Code == session.OK)
		u.Args, u.Blobs, u.Server = args, named, pinned
		servers += u.Attempts
		u.Attempts = servers
		if pinned != "" || u.NoRetry || servers >= mostTries || !elsewhere(ctx, u) {
			return
		}
		avoid = append(avoid, server)
	}
}

// elsewhere tells whether a call that has failed may be made at another server.
func elsewhere(ctx context.Context, u *client.Call) bool {
	o := u.Outcome
	return (o.Code == session.Refused || o.Code == session.NoServer) && (o.Execution == session.NotExecuted || u.Idempotent) && ctx.Err() == nil && u.Retry >= 0
}

// put makes a blob of what follows the blobs that a call names, and returns how it is named, and what is to be done when
// the call has ended: see [client.Reuser].
func (c *Client) put(ctx context.Context, u *client.Call, args []byte, avoid []string) (server string, arg []byte, done func(ended bool), err error) {
	body := args[int(u.Blobs)*blob.ArgLen:]
	for try := 0; ; try++ {
		server, party, err := c.c.Blobs(ctx, u, avoid)
		if err != nil {
			return "", nil, nil, err //nolint:wrapcheck // it is not told
		}
		if len(body) < client.Least(party) {
			return "", nil, nil, errShort
		}
		a, done, err := putArgument(ctx, party, body)
		if err == nil {
			return server, blob.AppendArgs(nil, []blob.Arg{a}), done, nil
		}
		if !isGone(err) || try > 0 || ctx.Err() != nil {
			return "", nil, nil, err //nolint:wrapcheck // it is not told
		}
		c.c.DropBlobs(server, party) // its host is gone, another may be there
	}
}

// putArgument makes a blob of the arguments of a call.
func putArgument(ctx context.Context, at client.Blobs, body []byte) (a blob.Arg, done func(ended bool), err error) {
	if r, is := at.(client.Reuser); is {
		return r.PutArgument(body) //nolint:wrapcheck // it says all
	}
	b, err := at.Put(ctx, uint64(len(body)), blob.Read, bytes.NewReader(body))
	if err != nil {
		return blob.Arg{}, nil, err //nolint:wrapcheck // it says all
	}
	h, err := b.Share(ctx, 0, uint64(len(body)), blob.Read)
	if err != nil {
		_ = b.Free()
	}
	return blob.Arg{Handle: h, Mode: blob.In, Body: true}, func(bool) { _ = b.Free() }, err //nolint:wrapcheck // it says all
}

// isGone tells whether a server's host of blobs is of no use any more. It is not if it has said no, nor if this
// process cannot map its memory: what the client has there stays.
func isGone(err error) bool {
	var near *shm.RefusedError
	var far *remote.RefusedError
	switch {
	case errors.Is(err, blob.ErrParty), errors.Is(err, blob.ErrDomain):
		return true
	case errors.As(err, &near), errors.As(err, &far), errors.Is(err, shm.ErrUnmapped):
		return false
	}
	return true
}

// result takes a result that is in a blob, unless the caller wants that as it is.
func (c *Client) result(ctx context.Context, u *client.Call) {
	if u.Outcome.Code == session.ReplyLost && c.threshold > 0 {
		c.c.WantBlobs(u.At, math.MaxInt) // it may have been too long for a message
	}
	if u.Outcome.Code != session.OK {
		return
	}
	if u.Outcome.Blobs == 0 {
		if c.threshold > 0 && len(u.Reply) >= c.threshold && !u.OneWay {
			c.c.WantBlobs(u.At, len(u.Reply))
			c.c.Regrant(u.At)
		}
		return
	}
	err := c.take(ctx, u)
	c.c.Regrant(u.At)
	if err != nil {
		u.Outcome = session.Outcome{Code: session.ReplyLost, Execution: session.Executed}
		u.Text, u.Reply = "result in a blob: "+err.Error(), u.Reply[:0]
	}
}

// take gives each result to who wants it, and frees the others.
func (c *Client) take(ctx context.Context, u *client.Call) error {
	results, rest, err := blob.ParseArgs(u.Reply, int(u.Outcome.Blobs))
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	w := wantsOf(u)
	var outs []*Blob
	if w != nil {
		outs = w.outs
	}
	var failed error
	var body client.Blob
	var at string
	for _, a := range results {
		server, party := c.c.Has(a.Handle.Domain)
		if party == nil {
			failed = blob.ErrDomain
			continue
		}
		var out *Blob
		switch {
		case len(outs) > 0:
			out, outs = outs[0], outs[1:]
		case !a.Body || body != nil:
			party.Discard(a.Handle)
			continue
		}
		b, err := party.Take(ctx, a)
		if errors.Is(err, shm.ErrUnmapped) {
			switch plain, err := fetch(party, a); {
			case err != nil:
				failed = err
			case out != nil:
				out.plain = plain
			default:
				rest = plain
			}
			continue
		}
		switch {
		case err != nil:
			failed = err
		case out != nil:
			out.client, out.server, out.blob = c, server, b
		default:
			body, at = b, server
		}
	}
	if body == nil {
		u.Reply = append(u.Reply[:0], rest...)
		return failed
	}
	if w != nil && w.all != nil {
		w.all.client, w.all.server, w.all.blob = c, at, body
		u.Reply = u.Reply[:0]
		return failed
	}
	u.Reply, err = copyOut(body, u.Reply)
	return errors.Join(failed, err)
}

// fetch copies a result whose memory cannot be mapped, and frees it.
func fetch(party client.Blobs, result blob.Arg) ([]byte, error) {
	f, is := party.(interface {
		Fetch(result blob.Arg) ([]byte, error)
	})
	if !is {
		return nil, shm.ErrUnmapped
	}
	defer party.Discard(result.Handle)
	return f.Fetch(result) //nolint:wrapcheck // it says all
}

// copyOut copies a blob, and frees it. Memory whose host has given this client up may have been emptied under
// the copy: where it cannot be freed, what was read is not believed.
func copyOut(b client.Blob, dst []byte) ([]byte, error) {
	mapped := b.Memory() != nil
	dst, err := readAll(b, dst)
	if lost := b.Free(); mapped {
		err = errors.Join(err, lost)
	}
	return dst, err
}

// readAll copies a blob.
func readAll(b client.Blob, dst []byte) ([]byte, error) {
	if m := b.Memory(); m != nil {
		return append(dst[:0], m...), nil
	}
	n := int(b.Handle().Length)
	if cap(dst) < n {
		dst = make([]byte, n)
	}
	dst = dst[:n]
	if k, err := b.ReadAt(dst, 0); err != nil && (!errors.Is(err, io.EOF) || k < n) {
		return dst[:0], fmt.Errorf("%d of %d bytes: %w", k, n, err)
	}
	return dst, nil
}
