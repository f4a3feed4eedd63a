package client

import (
	"context"
	"fmt"
	"slices"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

// asking is who waits for a server's offer, by one connection. An offer is of no use when the next one has been made, so
// it is the last that all of them get: also of those that somebody has asked for who has given up since.
type asking struct {
	due  int // that were asked for, and have not come
	last frame.BlobOffer
	who  []chan frame.BlobOffer
}

// ask asks a server for its offer. The reference is the caller's.
func (c *Client) ask(ctx context.Context, e conn.Endpoint) (*BlobServer, conn.Ref, error) {
	ref, err := c.service.AcquireID(ctx, e.ID)
	if err != nil {
		return nil, conn.Ref{}, err //nolint:wrapcheck // it names the server
	}
	n, ok := ref.Peer.(*conn.Conn)
	if !ok || n.Agreed().Features&frame.FeatureBlobs == 0 {
		ref.Release()
		return nil, conn.Ref{}, ErrNoBlobs
	}
	answer := c.stores.ask(n)
	err = n.Send(ctx, &conn.Message{Header: frame.Header{Type: frame.TypeBlobOffer}})
	asked := err == nil
	if asked {
		select {
		case o := <-answer:
			hello := c.opts.Pool.Hello
			return &BlobServer{
				Offer: o, Features: n.Agreed().Features, Endpoint: e, Name: c.opts.Service, Token: hello.Token, Dial: c.opts.Pool.Dial,
			}, ref, nil
		case <-n.Done():
			err = n.Err()
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	ref.Release()
	c.stores.unask(n, answer, asked)
	return nil, conn.Ref{}, fmt.Errorf("blobs of server %q: %w", e.ID, err)
}

// ask waits for an offer that is about to be asked for.
func (s *stores) ask(p conn.Peer) chan frame.BlobOffer {
	answer := make(chan frame.BlobOffer, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offers[p] == nil {
		s.offers[p] = &asking{}
	}
	a := s.offers[p]
	a.due++
	a.who = append(a.who, answer)
	return answer
}

// unask ends the wait of who has given up. asked says that the offer was asked for: it comes nevertheless.
func (s *stores) unask(p conn.Peer, answer chan frame.BlobOffer, asked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.offers[p]
	if a == nil { // it has come, or the connection has ended
		return
	}
	a.who = slices.DeleteFunc(a.who, func(w chan frame.BlobOffer) bool { return w == answer })
	if !asked {
		s.came(p, a)
	}
}

// came counts an offer that is due no more, and tells who waits if it was the last.
func (s *stores) came(p conn.Peer, a *asking) {
	if a.due--; a.due > 0 {
		return
	}
	delete(s.offers, p)
	for _, w := range a.who {
		w <- a.last
	}
}

// ended says that nothing comes by a connection any more.
func (s *stores) ended(p conn.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.offers, p)
}

// offered hears what a server has offered.
func (c *Client) offered(p conn.Peer, in *conn.In) {
	o, err := frame.ParseBlobOffer(in.Body)
	if err != nil {
		return // the connection has checked it
	}
	c.stores.mu.Lock()
	defer c.stores.mu.Unlock()
	if a := c.stores.offers[p]; a != nil {
		a.last = o
		c.stores.came(p, a)
	}
}
