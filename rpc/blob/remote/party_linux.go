package remote

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/shm"
)

// party is a client, over all its connections.
type party struct {
	*shm.Party

	server *Server
	key    [sha256.Size]byte
	name   string
	lease  time.Duration
	last   atomic.Int64 // when something was heard

	mu        sync.Mutex
	freed     sync.Cond // a transfer has no user any more
	gone      bool
	sessions  map[*session]struct{}
	transfers map[uint64]*transfer
	over      numbers               // of transfers: those that come now come late
	refs      map[uint64]blob.RefID // by the client's numbers
	released  numbers               // of references: the same
}

func (p *party) hear()                { p.last.Store(int64(p.server.opts.now())) }
func (p *party) heard() time.Duration { return time.Duration(p.last.Load()) }

// transfer is a put, or an allocation, by its number.
type transfer struct {
	handle blob.Handle
	made   bool               // for this transfer
	bytes  *shm.Range         // nil: it has ended
	at     uint64             // bytes that are there
	sum    uint32             // of these
	err    error              // how it ended
	user   *session           // moves its bytes
	stop   context.CancelFunc // of a user that cannot be stopped at once; nil: it can be
	unused bool               // nobody wants it any more
}

// attach adds a connection.
func (p *party) attach(s *session) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone:
		return fmt.Errorf("%w: %q has left", blob.ErrParty, p.name)
	case len(p.sessions) >= p.server.opts.Conns:
		return fmt.Errorf("%w: %d connections", ErrMany, len(p.sessions))
	}
	p.sessions[s] = struct{}{}
	return nil
}

func (p *party) detach(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, s)
}

// leave frees all that the party has, but for what is being moved: that is freed when it
// does not move any more.
func (p *party) leave() {
	p.mu.Lock()
	p.gone = true
	for s := range p.sessions {
		_ = s.link.Close()
	}
	for n, t := range p.transfers {
		p.abandon(n, t)
	}
	p.mu.Unlock()
	p.Leave()
}

// begin finds a transfer, or makes one, and gives it to a session. What it is to do is
// done once, whatever is lost on the way.
func (p *party) begin(s *session, number uint64, grant func() (*transfer, error)) (*transfer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		t := p.transfers[number]
		switch {
		case p.gone:
			return nil, fmt.Errorf("%w: %q has left", blob.ErrParty, p.name)
		case t == nil && p.over.has(number):
			return nil, fmt.Errorf("%w: transfer %d is over", errGivenUp, number)
		case t == nil && len(p.transfers) >= p.server.opts.Transfers:
			return nil, fmt.Errorf("%w: %d transfers have not ended", ErrMany, len(p.transfers))
		case t == nil:
			t, err := grant()
			if err != nil {
				return nil, err
			}
			t.user = s
			p.transfers[number] = t
			return t, nil
		case t.user == nil:
			t.user = s
			return t, nil
		case t.stop != nil:
			return nil, fmt.Errorf("%w: transfer %d is under way", blob.ErrBusy, number)
		}
		_ = t.user.link.Close() // its client has begun again, over us
		p.freed.Wait()
	}
}

// end takes a transfer from its session.
func (p *party) end(number uint64, t *transfer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.user, t.stop = nil, nil
	if t.unused {
		p.finish(number, t)
	}
	p.freed.Broadcast()
}

// keep says that a transfer cannot be stopped at once. The context ends when nobody wants
// it any more.
func (p *party) keep(t *transfer) (context.Context, context.CancelFunc, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.unused {
		return nil, nil, errGivenUp
	}
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	return ctx, stop, nil
}

// abandon ends a transfer that nobody wants, as soon as nobody uses it.
func (p *party) abandon(number uint64, t *transfer) {
	t.unused = true
	switch {
	case t.user == nil:
		p.finish(number, t)
	case t.stop != nil:
		t.stop()
	default:
		_ = t.user.link.Close()
	}
}

// finish takes back what a transfer has.
func (p *party) finish(number uint64, t *transfer) {
	if t.bytes != nil {
		t.bytes.Release()
		t.bytes = nil
	}
	if t.made {
		_ = p.Free(t.handle)
	}
	delete(p.transfers, number)
}

// complete ends a transfer whose bytes are there, or are wrong. What was made for it is
// the client's, or nobody's.
func (p *party) complete(t *transfer, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.err = err
	t.bytes.Release()
	t.bytes = nil
	if err != nil && t.made {
		_ = p.Free(t.handle)
		t.made = false
	}
}

// heed drops what a client says that it knows the end of.
func (p *party) heed(ack uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over.raise(ack)
	for n, t := range p.transfers {
		if n <= ack {
			p.known(n, t)
		}
	}
}

// retire drops one of which a client says so.
func (p *party) retire(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over.add(number)
	if t := p.transfers[number]; t != nil {
		p.known(number, t)
	}
}

func (p *party) known(number uint64, t *transfer) {
	if t.user != nil {
		return
	}
	if t.bytes == nil {
		t.made = false // it is the client's
	}
	p.finish(number, t)
}

// forget gives up a transfer, and what was made for it. It may come before it is asked for, over another connection.
func (p *party) forget(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over.add(number)
	if t := p.transfers[number]; t != nil {
		p.abandon(number, t)
	}
}

// refer takes a reference by the client's number.
func (p *party) refer(m *message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.refs[m.Number]; known {
		return nil // the answer was lost
	}
	if p.released.has(m.Number) {
		return fmt.Errorf("%w: reference %d is over", errGivenUp, m.Number)
	}
	if len(p.refs) >= p.server.opts.References {
		return fmt.Errorf("%w: %d references", ErrMany, len(p.refs))
	}
	lease := time.Duration(min(m.Time, 1<<40)) * time.Millisecond
	ref, err := p.Acquire(m.Handle, m.Mode, lease)
	if err == nil {
		p.refs[m.Number] = ref
	}
	return err
}

// unrefer gives it back. One that is over is given back already; one that is not there may be asked for yet, over
// another connection.
func (p *party) unrefer(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released.add(number)
	if ref, known := p.refs[number]; known {
		delete(p.refs, number)
		_ = p.Release(ref)
	}
}
