package client

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

// offerer is a server that offers blobs when the test says so.
type offerer struct {
	path    string
	asked   chan conn.Peer // for an offer
	granted chan struct{}
}

func newOfferer(t *testing.T) *offerer {
	t.Helper()
	o := &offerer{path: filepath.Join(t.TempDir(), "s"), asked: make(chan conn.Peer, 4), granted: make(chan struct{}, 4)}
	s, err := conn.NewServer(conn.ServerOptions{Handler: o, Admit: func(h *frame.Hello) frame.HelloAck {
		return frame.Answer(h, frame.HelloAck{Features: frame.FeatureBlobs})
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", o.path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
	return o
}

func (o *offerer) Message(p conn.Peer, in *conn.In) {
	switch in.Type {
	case frame.TypeBlobOffer:
		o.asked <- p
	case frame.TypeBlobGrant:
		o.granted <- struct{}{}
	}
}

func (*offerer) Closed(conn.Peer, error, []uint64) {}

func offer(t *testing.T, p conn.Peer, ticket byte) {
	t.Helper()
	o := frame.BlobOffer{Domain: [16]byte{1}, Ticket: [16]byte{ticket}}
	if err := p.TrySend(&conn.Message{Header: frame.Header{Type: frame.TypeBlobOffer}, Body: o.Append(nil)}); err != nil {
		t.Fatal(err)
	}
}

// wants is a client that joins as it is told, and wants what it has there.
func (o *offerer) wants(t *testing.T, join JoinBlobs) (_ *Client, blobs func(context.Context) chan error) {
	t.Helper()
	c := (&rig{t: t, path: o.path}).client(Options{JoinBlobs: []JoinBlobs{join}})
	return c, func(ctx context.Context) chan error {
		over := make(chan error, 1)
		go func() {
			_, _, err := c.Blobs(ctx, &Call{Method: "any"}, nil)
			over <- err
		}()
		return over
	}
}

// TestWhoHasGivenUpLeavesNobodyAnOfferThatIsOver: a server's next offer ends the one before, which comes first.
func TestWhoHasGivenUpLeavesNobodyAnOfferThatIsOver(t *testing.T) {
	o, tickets := newOfferer(t), make(chan byte, 1)
	_, blobs := o.wants(t, func(_ context.Context, s *BlobServer) (Blobs, error) {
		tickets <- s.Offer.Ticket[0]
		return nil, ErrNoBlobs
	})
	ctx, cancel := context.WithCancel(soon(t))
	first := blobs(ctx)
	p := <-o.asked
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who has given up: %v", err)
	}
	second := blobs(soon(t))
	<-o.asked
	offer(t, p, 1)
	offer(t, p, 2)
	if err, got := <-second, <-tickets; !errors.Is(err, ErrNoBlobs) || got != 2 {
		t.Errorf("the next has offer %d, want 2: %v", got, err)
	}
}

// known is what a client has at a server.
type known struct {
	Blobs

	account func() blob.Handle
}

func (known) Domain() blob.Domain    { return blob.Domain{1} }
func (k known) Account() blob.Handle { return k.account() }
func (known) Close() error           { return nil }

// TestAServerHearsOfAnAccountWhenItsResultsAreFound: they may be there at once, and one that is not found is nobody's.
func TestAServerHearsOfAnAccountWhenItsResultsAreFound(t *testing.T) {
	o, found := newOfferer(t), make(chan bool, 1)
	var c *Client
	c, blobs := o.wants(t, func(context.Context, *BlobServer) (Blobs, error) {
		return known{account: func() blob.Handle {
			_, b := c.Has(blob.Domain{1})
			found <- b != nil
			return blob.Handle{Domain: blob.Domain{1}, ID: 1, Rights: blob.Pay}
		}}, nil
	})
	joined := blobs(soon(t))
	offer(t, <-o.asked, 1)
	if err := <-joined; err != nil {
		t.Fatal(err)
	}
	if <-o.granted; !<-found {
		t.Error("it has heard of it before")
	}
}
