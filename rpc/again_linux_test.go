package rpc

import (
	"context"
	"errors"
	"testing"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/local"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
)

// attentive is what a client has at a server, which hears how the uses of its arguments end.
type attentive struct {
	client.Blobs
	client.Reuser
	ended []bool
}

func (a *attentive) PutArgument(body []byte) (blob.Arg, func(bool), error) {
	arg, done, err := a.Reuser.PutArgument(body)
	return arg, func(ended bool) {
		a.ended = append(a.ended, ended)
		done(ended)
	}, err
}

// TestOnlyACallWithAResultLeavesItsArgument to the next one: of others there may be runs left.
func TestOnlyACallWithAResultLeavesItsArgument(t *testing.T) {
	r := newBlobRig(t, ServerOptions{}, ClientOptions{})
	begun := make(chan struct{}, 1)
	Handle(r.server, "fails", func(context.Context, []byte) (int, error) { return 0, errors.New("as asked") })
	Handle(r.server, "waits", func(ctx context.Context, _ []byte) (int, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return 0, ctx.Err()
	})
	heard := &attentive{}
	join := func(ctx context.Context, s *client.BlobServer) (client.Blobs, error) {
		b, err := local.Join(LongBlob)(ctx, s)
		heard.Blobs = b
		heard.Reuser, _ = b.(client.Reuser)
		return heard, err
	}
	o := client.Options{Service: "blobs", JoinBlobs: []client.JoinBlobs{join}}
	o.Pool.Hello.Codecs = r.codecs.Mask()
	inner, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{c: inner, codecs: r.codecs, threshold: LongBlob}
	t.Cleanup(func() { _ = c.Close() })
	at, err := ParseAddress(r.address)
	if err == nil {
		err = c.Update([]conn.Endpoint{at})
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(soon(t))
	go func() {
		<-begun
		cancel()
	}()
	for _, call := range []struct {
		method string
		err    error
		ended  bool
	}{{"length", nil, true}, {"fails", Failed, false}, {"waits", Canceled, false}} {
		heard.ended = nil
		if _, err := Call[int](ctx, c, call.method, fill(LongBlob)); !errors.Is(err, call.err) {
			t.Errorf("%s: %v", call.method, err)
		}
		if len(heard.ended) != 1 || heard.ended[0] != call.ended {
			t.Errorf("%s: its argument is done with as %v, want %v", call.method, heard.ended, call.ended)
		}
	}
	if n := r.live(t); n > 0 {
		t.Errorf("%d blobs are left", n)
	}
}
