package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
)

// Blobs is what this client has in the memory of one server: it is a party of the host
// of blobs there. It is safe for concurrent use.
type Blobs interface {
	// Domain is the host's. Handles of another one are of no use there.
	Domain() blob.Domain
	// Account is the handle by which results are made for this client.
	Account() blob.Handle
	// Put makes a blob of size bytes, and fills it with what r has, which must be so many. A nil
	// r leaves it as it is. Others never get more than the rights in lend.
	Put(ctx context.Context, size uint64, lend blob.Rights, r io.Reader) (Blob, error)
	// Take takes what a call has made for this client, as the reply says it.
	Take(ctx context.Context, result blob.Arg) (Blob, error)
	// Slice makes a narrower handle of any, with some of its rights.
	Slice(ctx context.Context, h blob.Handle, offset, length uint64, rights blob.Rights) (blob.Handle, error)
	// Open takes what somebody else owns, to read it ([blob.In]) or to change it, too ([blob.InOut]).
	// Its Free gives that back, and its owner accepts it.
	Open(ctx context.Context, h blob.Handle, mode blob.Mode) (Blob, error)
	// Discard frees a result that the client does not want. It does not wait.
	Discard(result blob.Handle)
	// Close frees all that the client has there.
	Close() error
}

// Reuser is a Blobs that puts arguments of calls where earlier ones were, whose calls have ended.
type Reuser interface {
	// PutArgument makes a blob of an argument, and says how a call names it. done is to be called when the call has
	// ended, and lets the blob go. If there is a result, say so: what the server says may be used again is kept for
	// another call then, for a moment. Otherwise there may be runs left of what was sent more than once.
	PutArgument(body []byte) (a blob.Arg, done func(ended bool), err error)
	// Again hears by which handle an argument may be used again. It does not wait.
	Again(h blob.Handle)
}

// Least is from which length on arguments and results had better be in blobs, bytes: as they say
// by a method of this name, or 0.
func Least(b Blobs) int {
	if l, is := b.(interface{ Least() int }); is {
		return l.Least()
	}
	return 0
}

// Blob is one that this client owns, or has opened. It is not safe for concurrent use.
type Blob interface {
	// Handle is the owner's, or what was opened.
	Handle() blob.Handle
	// Share makes a handle for others. That of a whole blob costs nothing the second time.
	Share(ctx context.Context, offset, length uint64, rights blob.Rights) (blob.Handle, error)
	// Memory is where the bytes are, until Free; nil if that is elsewhere: then they are to be
	// read and written by what follows.
	Memory() []byte
	io.ReaderAt
	io.WriterAt
	// Accept makes it usable again after a crash has left it half written.
	Accept(ctx context.Context) error
	// Free lets it go. Others keep it as long as they use it. It does not wait until that is so. It may
	// be called again.
	Free() error
}

// BlobServer is a server that has blobs, and who this client is there.
type BlobServer struct {
	Offer    frame.BlobOffer
	Features frame.Features // that were agreed on
	Endpoint conn.Endpoint
	Name     string    // of this client, for people
	Token    []byte    // this client's credentials
	Dial     conn.Dial // makes sockets
	Facts    BlobFacts // why the bytes go the way that they go
}

// JoinBlobs makes this client a party of a server's host of blobs. [ErrNoBlobs] says that this
// way does not lead there, and that another may.
type JoinBlobs func(context.Context, *BlobServer) (Blobs, error)

// ErrNoBlobs means that a server has no blobs for this client: what is long goes in messages.
var ErrNoBlobs = errors.New("server has no blobs for this client")

// stores are what a client has in its servers' memory.
type stores struct {
	mu     sync.Mutex
	all    map[string]*store // by server id
	offers map[conn.Peer]*asking
	any    atomic.Bool // there is one, or was
	closed bool
}

// store is what a client has, or will have, at one server.
type store struct {
	endpoint conn.Endpoint
	ready    chan struct{} // closed when the rest is there
	blobs    Blobs
	asked    time.Duration
	err      error

	mu    sync.Mutex
	least int // that the server was told of last
}

// Blobs returns what this client has at the server that a call would go to, which is none
// of those to be avoided, and the server's id. The first time it asks for it, and waits for
// the answer. It fails with [ErrNoBlobs] if there is none.
func (c *Client) Blobs(ctx context.Context, u *Call, avoid []string) (server string, _ Blobs, err error) {
	e, err := c.place(u, avoid)
	if err != nil {
		return "", nil, err
	}
	for {
		s, first := c.stores.get(e)
		if first {
			c.join(ctx, s)
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return "", nil, context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
		}
		impatient := errors.Is(s.err, context.DeadlineExceeded) || errors.Is(s.err, context.Canceled)
		if !impatient || first || ctx.Err() != nil {
			return e.ID, s.blobs, s.err
		}
		// It was another's patience that was over, who was the first.
	}
}

// place chooses a server as for a call. Those in this process get values, and no blobs.
func (c *Client) place(u *Call, avoid []string) (conn.Endpoint, error) {
	if len(c.opts.JoinBlobs) == 0 {
		return conn.Endpoint{}, ErrNoBlobs
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &call{user: u}
	for _, id := range avoid {
		if p := c.peers[id]; p != nil {
			k.tried = append(k.tried, p)
		}
	}
	p := c.choose(c.now(), k)
	switch {
	case p == nil || p.endpoint.Local != nil:
		return conn.Endpoint{}, ErrNoBlobs
	case p.line != nil:
		if n, ok := p.line.ref.Peer.(*conn.Conn); !ok || n.Agreed().Features&frame.FeatureBlobs == 0 {
			return conn.Endpoint{}, ErrNoBlobs
		}
	}
	return p.endpoint, nil
}

func (s *stores) get(e conn.Endpoint) (_ *store, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.all[e.ID]; have != nil && have.endpoint == e {
		return have, false
	}
	n := &store{endpoint: e, ready: make(chan struct{})}
	if s.closed {
		n.err = ErrClosed
		close(n.ready)
		return n, false
	}
	s.all[e.ID] = n
	return n, true
}

// forget drops a store, so that the next who wants it makes another one, and leaves it.
func (s *stores) forget(n *store) {
	s.mu.Lock()
	if s.all[n.endpoint.ID] == n {
		delete(s.all, n.endpoint.ID)
	}
	s.mu.Unlock()
	if n.blobs != nil {
		leave(n.blobs)
	}
}

// leave gives up what there is at a server. Others may look at bytes that they have there at this moment: what
// is memory, as a method Leave says, stays until they free it.
func leave(b Blobs) {
	if l, is := b.(interface{ Leave() error }); is {
		_ = l.Leave()
		return
	}
	_ = b.Close()
}

// Has tells what this client has in a domain, and at which server that is; nil: nothing.
func (c *Client) Has(d blob.Domain) (server string, _ Blobs) {
	c.stores.mu.Lock()
	defer c.stores.mu.Unlock()
	for id, s := range c.stores.all {
		select {
		case <-s.ready:
			if s.err == nil && s.blobs.Domain() == d {
				return id, s.blobs
			}
		default:
		}
	}
	return "", nil
}

// WantBlobs joins a server's host of blobs in the background, so that the next long result
// comes that way. One of n bytes did not.
func (c *Client) WantBlobs(server string, n int) {
	c.mu.Lock()
	p := c.peers[server]
	if p == nil || c.closed || len(c.opts.JoinBlobs) == 0 || p.endpoint.Local != nil {
		c.mu.Unlock()
		return
	}
	e := p.endpoint
	s, first := c.stores.get(e)
	doubt := !first && s.doubt(c.now(), n)
	if first || doubt {
		c.background.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), joinTime)
			defer cancel()
			if first {
				c.join(ctx, s)
			} else {
				c.ensure(ctx, s)
			}
		})
	}
	c.mu.Unlock()
}

// doubt tells whether it is time to ask whether the server is still the one that there were blobs at:
// a result of n bytes has not come by one. The caller has the client's lock.
func (s *store) doubt(now time.Duration, n int) bool {
	select {
	case <-s.ready:
	default:
		return false
	}
	if s.err != nil || now < s.asked+askEvery || n < Least(s.blobs) {
		return false
	}
	s.asked = now
	return true
}

// ensure drops what there was at a server that has been replaced.
func (c *Client) ensure(ctx context.Context, s *store) {
	b, ref, err := c.ask(ctx, s.endpoint)
	if err != nil {
		return
	}
	ref.Release()
	if s.blobs.Domain() != b.Offer.Domain {
		c.stores.forget(s)
	}
}

// askEvery is how often it is asked, at most, whether a server is the one that it was.
const askEvery = time.Second

// joinTime bounds how long it may take to join a host of blobs when nobody waits for it.
const joinTime = 10 * time.Second

// Discard frees results that nobody wants: the n blobs in front of a reply.
func (c *Client) Discard(reply []byte, n uint8) {
	args, _, err := blob.ParseArgs(reply, int(n))
	if err != nil {
		return
	}
	for _, a := range args {
		if _, b := c.Has(a.Handle.Domain); b != nil && a.Mode == blob.Out {
			b.Discard(a.Handle)
		}
	}
}

// mostAbandoned bounds how many calls are remembered that were given up, and may still have results.
const mostAbandoned = 4096

// gaveUp notes a call that has ended without an answer, where results may be blobs.
func (c *Client) gaveUp(k *call) {
	if len(k.tried) == 0 || !c.stores.any.Load() {
		return
	}
	switch k.inv.Outcome.Code {
	case session.Canceled, session.DeadlineExceeded, session.Lost, session.Expired:
	default:
		return
	}
	p := k.tried[len(k.tried)-1]
	if p.gaveUp == nil {
		p.gaveUp = map[uint64]struct{}{}
	}
	for seq := range p.gaveUp {
		if len(p.gaveUp) < mostAbandoned {
			break
		}
		delete(p.gaveUp, seq)
	}
	p.gaveUp[k.inv.XID().Seq] = struct{}{}
}

// tooLate frees the results of a call that was given up.
func (c *Client) tooLate(p *peer, m *session.Message) {
	if _, is := p.gaveUp[m.Seq]; !is || p.session.Call(m.Seq) != nil {
		return
	}
	delete(p.gaveUp, m.Seq)
	reply, n := append([]byte(nil), m.Body[:min(len(m.Body), int(m.Blobs)*blob.ArgLen)]...), m.Blobs
	c.background.Go(func() { c.Discard(reply, n) })
}

// DropBlobs says that what a client has at a server is of no use any more: the server's host of
// blobs is gone.
func (c *Client) DropBlobs(server string, b Blobs) {
	c.stores.mu.Lock()
	n := c.stores.all[server]
	c.stores.mu.Unlock()
	if n == nil {
		return
	}
	select {
	case <-n.ready:
		if n.blobs == b {
			c.stores.forget(n)
		}
	default:
	}
}

// join makes the client a party at a server. That hears of it when the client finds by its handles what comes of it.
func (c *Client) join(ctx context.Context, s *store) {
	peer, err := c.enter(ctx, s)
	close(s.ready)
	if err != nil {
		return
	}
	_ = peer.Peer.TrySend(&conn.Message{Header: frame.Header{Type: frame.TypeBlobGrant}, Body: s.grant()})
	peer.Release()
}

// enter is join before anybody knows of it. The reference is the caller's.
func (c *Client) enter(ctx context.Context, s *store) (conn.Ref, error) {
	b, peer, err := c.ask(ctx, s.endpoint)
	if err == nil {
		if s.blobs, err = c.joinAny(ctx, b); err != nil {
			peer.Release()
		}
	}
	if err != nil {
		s.err = err
		if !errors.Is(err, ErrNoBlobs) { // it may be otherwise the next time
			c.stores.forget(s)
		}
		return conn.Ref{}, err
	}
	c.stores.any.Store(true)
	c.stores.mu.Lock()
	closed := c.stores.closed
	c.stores.mu.Unlock()
	if closed {
		peer.Release()
		s.err = errors.Join(ErrClosed, s.blobs.Close())
	}
	return peer, s.err
}

func (c *Client) joinAny(ctx context.Context, b *BlobServer) (Blobs, error) {
	err := ErrNoBlobs
	for _, join := range c.opts.JoinBlobs {
		have, e := join(ctx, b)
		if e == nil {
			return have, nil
		}
		if !errors.Is(e, ErrNoBlobs) {
			err = e
		}
	}
	return nil, err
}

// again hears that an argument may be used again.
func (c *Client) again(in *conn.In) {
	h, err := blob.ParseHandle(in.Body)
	if err != nil {
		return
	}
	if _, b := c.Has(h.Domain); b != nil {
		if r, is := b.(Reuser); is {
			r.Again(h)
		}
	}
}

// leftAfter is how long results may take to be taken that a server has made, which has left the list.
const leftAfter = 10 * time.Second

// at returns what there is, or will be, at a server; nil: nothing.
func (s *stores) at(e conn.Endpoint) *store {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.all[e.ID]; have != nil && have.endpoint == e {
		return have
	}
	return nil
}

// left gives up what there is at a server that has left the list, and where nothing is open: unless it comes back
// before what it has made for calls has been taken. The caller has the client's lock.
func (c *Client) left(p *peer) {
	s := p.store
	if s == nil || c.closed {
		return
	}
	c.background.Go(func() {
		<-s.ready
		select {
		case <-c.stop:
			if c.stores.at(s.endpoint) != s { // else Close gives it up
				c.stores.forget(s)
			}
			return
		case <-time.After(leftAfter):
		}
		c.mu.Lock()
		again := c.peers[s.endpoint.ID]
		c.mu.Unlock()
		if again == nil || c.stores.at(again.endpoint) != s {
			c.stores.forget(s)
		}
	})
}

// close frees what there is at all servers.
func (s *stores) close() {
	s.mu.Lock()
	s.closed = true
	all := s.all
	s.all = map[string]*store{}
	s.mu.Unlock()
	for _, n := range all {
		<-n.ready
		if n.blobs != nil {
			_ = n.blobs.Close()
		}
	}
}
