package tracker

import (
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"rpcpool.dev/internal/tcp"
)

const (
	// maxBacklog is how much a peer may leave unread before whatever is sent to
	// it next closes it. Its own requests stop being read long before that.
	maxBacklog = 4 << 20
	// flushStep is what a slow peer must take within the write timeout.
	flushStep = 256 << 10
	// checkGrants is how many grants to one connection are remembered before
	// the kernel is asked which of them have arrived.
	checkGrants = 16
)

var (
	errClosed     = errors.New("connection is closed")
	errSlowReader = errors.New("peer does not read what it is sent")
)

// outbox writes to a connection whoever calls, and never blocks: what the
// socket does not take at once is left to a goroutine that lives until it is
// written, or until the peer has not read for the write timeout. An outbox
// holds no memory while nothing is stuck in it.
type outbox struct {
	nc      *tcp.Conn
	timeout time.Duration
	spawn   func(func()) // starts a goroutine that the server waits for
	write   attempt
	all     *backlogs // this one's among them

	mu      sync.Mutex
	backlog []byte
	flushed chan struct{} // not nil while a goroutine flushes; closed when it is done
	total   int64         // bytes accepted
	grants  []sentGrant   // not known to have arrived
	acked   int64         // when closed: bytes that the peer's kernel had received
	err     error         // why it is closed
}

// sentGrant is a grant and where its frame ends in the stream.
type sentGrant struct {
	offer *offer
	end   int64
}

// open prepares the outbox, which must not be copied afterwards.
func (b *outbox) open(nc *tcp.Conn, timeout time.Duration, all *backlogs, spawn func(func())) error {
	raw, err := nc.SyscallConn()
	if err != nil {
		return err
	}
	b.nc, b.timeout, b.all, b.spawn = nc, timeout, all, spawn
	b.write.init(raw)
	return nil
}

// send accepts whole frames to be written in order. If the peer's socket is
// full, it returns a channel that is closed when it no longer is. A grant is
// remembered until it has arrived.
func (b *outbox) send(frames []byte, grant *offer) (full <-chan struct{}, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil, b.err
	}
	if len(b.backlog) > maxBacklog {
		b.closeLocked(reject(rejectSlowReader, errSlowReader))
		return nil, b.err
	}
	n := 0
	if b.flushed == nil {
		if n, err = b.write.try(frames); err != nil {
			b.closeLocked(err)
			return nil, b.err
		}
	}
	b.total += int64(len(frames))
	if grant != nil {
		b.remember(grant)
	}
	if n == len(frames) {
		return nil, nil
	}
	if err := b.account(len(frames) - n); err != nil {
		return nil, err
	}
	b.backlog = append(b.backlog, frames[n:]...)
	if b.flushed == nil {
		b.flushed = make(chan struct{})
		b.spawn(b.flush)
	}
	return b.flushed, nil
}

// account makes room for n bytes of backlog, by closing those that leave most
// unread if need be. It fails if this peer is one of them.
func (b *outbox) account(n int) error {
	for _, victim := range b.all.add(b, n) {
		why := reject(rejectSlowReader, errBacklogs)
		if victim == b {
			b.closeLocked(why)
			continue
		}
		b.spawn(func() { victim.close(why) }) // its lock must not be waited for under ours
	}
	return b.err
}

// flush writes the backlog until there is none.
func (b *outbox) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.backlog) > 0 && b.err == nil {
		backlog := b.backlog
		b.backlog = nil
		b.mu.Unlock()
		err := b.writeAll(backlog)
		b.mu.Lock()
		b.all.sub(b, len(backlog))
		if err != nil {
			b.closeLocked(err)
		}
	}
	b.backlog = nil
	b.all.drop(b)
	close(b.flushed)
	b.flushed = nil
}

func (b *outbox) writeAll(p []byte) error {
	for step := range slices.Chunk(p, flushStep) {
		if err := b.nc.SetWriteDeadline(time.Now().Add(b.timeout)); err != nil {
			return err
		}
		if _, err := b.nc.Write(step); errors.Is(err, os.ErrDeadlineExceeded) {
			return reject(rejectSlowReader, errSlowReader)
		} else if err != nil {
			return err
		}
	}
	return b.nc.SetWriteDeadline(time.Time{})
}

// remember notes a grant whose frame ends at total.
func (b *outbox) remember(o *offer) {
	if len(b.grants) >= checkGrants && len(b.grants)%checkGrants == 0 {
		acked := b.write.acked()
		b.grants = slices.DeleteFunc(b.grants, func(g sentGrant) bool { return g.end <= acked })
	}
	b.grants = append(b.grants, sentGrant{o, b.total})
}

// close closes the connection, which ends its reader too. Only the first reason
// counts.
func (b *outbox) close(why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closeLocked(why)
}

func (b *outbox) closeLocked(why error) {
	if b.err != nil {
		return
	}
	b.err = why
	if len(b.grants) > 0 {
		b.acked = b.write.acked()
	}
	_ = b.nc.Close()
}

// undelivered returns, of a closed outbox, the grants that the peer's kernel has
// not received, so that the peer cannot know them. It also returns why the
// outbox was closed.
func (b *outbox) undelivered() (offers []*offer, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.grants {
		if g.end > b.acked {
			offers = append(offers, g.offer)
		}
	}
	b.grants = nil
	return offers, b.err
}

// ended tells whether an error is a connection's ordinary end.
func ended(err error) bool {
	return errors.Is(err, errClosed) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ETIMEDOUT)
}
