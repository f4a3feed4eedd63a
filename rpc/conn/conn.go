package conn

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/giveway"
	"rpcpool.dev/rpc/ring"
	"rpcpool.dev/rpc/socket"
)

// Conn is one connection, after its handshake.
type Conn struct {
	nc   net.Conn
	opts Options
	h    Handler

	lender Lender // is the handler, too; nil: it is none

	snd  sender
	rx   receiver
	rd   reader
	lend lending

	relief relief

	shared *ring.Memory // that the connection goes by; nil: by its socket

	ack  frame.HelloAck // what was agreed
	from frame.Hello    // of the client; server only

	hold      hold
	idleSince atomic.Int64 // clock when the last reference went, or at the start
	busySince atomic.Int64 // clock when the first reference came
	heard     atomic.Bool  // since the keeper looked
	kept      kept         // the keeper's

	calls atomic.Uint64 // highest seq of a call, and goneAway
	start time.Time
	rtt   atomic.Int64 // ns

	mu      sync.Mutex
	err     error         // why it ended
	pings   chan struct{} // closed at the next PONG
	writers sync.WaitGroup
	owner   owner
	done    chan struct{} // closed when nothing of the connection runs any more
}

// owner is told about a connection's end.
type owner struct {
	clock *atomic.Int64      // ns, coarse
	ended func(*Conn, error) // at once; may be nil
	idle  func()             // nobody holds it any more; must not wait. May be nil
	over  func(*Conn)        // when nothing runs any more but the handler's Closed; may be nil
}

const goneAway = 1 << 63

var _ Peer = (*Conn)(nil)

func newConn(nc net.Conn, opts Options, h Handler, o owner) *Conn {
	c := &Conn{opts: opts, h: h, owner: o, start: time.Now(), done: make(chan struct{})}
	c.lender, _ = h.(Lender)
	c.rx.init(c)
	if c.lend.waiting = opts.Waiting; c.lend.waiting == nil {
		c.lend.waiting = c.Held
	}
	c.lend.wake = make(chan struct{}, 1)
	c.rd = reader{c: c, buf: make([]byte, bufferSize), bite: bite}
	c.goBy(nc)
	c.snd.fail, c.snd.bound = c.end, opts.MaxQueue
	c.snd.spawn, c.snd.letRun = c.writers.Go, runtime.Gosched
	c.idleSince.Store(o.clock.Load())
	return c
}

// goBy makes a socket the one that is read and written.
func (c *Conn) goBy(nc net.Conn) {
	c.nc = nc
	c.snd.w.init(nc, c.opts.Write)
	c.rd.try = newTrier(nc)
}

// open begins to read. Both sides know the other's limits.
func (c *Conn) open(peer frame.Limits) {
	if s, ok := socket.Take(c.nc); ok {
		c.goBy(s)
	}
	if c.shared != nil {
		c.goByMemory()
	}
	q := &c.snd.q
	q.chunk = min(maxChunk, int(peer.MaxFrame))
	c.snd.peer, q.limit, q.most = peer, peer.Window, int(min(peer.Window, frame.LimitMaxFrame)/4)
	if sc, is := c.nc.(syscall.Conn); is {
		if raw, err := sc.SyscallConn(); err == nil {
			giveway.Watch(raw)
		}
	}
	q.crc = c.opts.Checksum && c.ack.Features&frame.FeatureCRC != 0
	go c.live()
}

// live is the reader's goroutine, and the connection's last, unless it is relieved.
func (c *Conn) live() {
	err := c.serve()
	if errors.Is(err, errRelieved) {
		return
	}
	var bad *frame.Error
	if errors.As(err, &bad) {
		c.farewell(bad)
	}
	c.end(err)
	_ = c.nc.Close()
	<-c.snd.drained()
	c.writers.Wait()
	for _, a := range c.rd.long {
		a.mem.Release()
		c.rx.free(c.rx.leave(a), 0) // others may wait for its room
	}
	c.rd.cur.mem.Release()
	c.rd.unspill()
	if c.owner.over != nil {
		c.owner.over(c)
	}
	c.h.Closed(c, c.Err(), c.snd.lost())
	close(c.done)
}

// farewell tells a peer that breaks the rules why it is left. What it still
// sends is read and thrown away: a socket that is closed with unread bytes would
// throw away our words.
func (c *Conn) farewell(why *frame.Error) {
	if c.sayGoAway(&frame.GoAway{Reason: why.Reason, Text: why.Text}, c.lastCall()) != nil || !c.written(context.Background()) {
		return
	}
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = c.nc.SetReadDeadline(time.Now().Add(c.opts.Linger))
		_, _ = io.CopyN(io.Discard, c.nc, int64(c.opts.MaxWindow))
	}
}

// end ends the connection. Only the first reason counts. After a broken write
// the reader has a moment to take what has arrived.
func (c *Conn) end(err error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
	}
	c.mu.Unlock()
	if !first {
		return
	}
	c.hold.shut()
	if c.owner.ended != nil {
		c.owner.ended(c, err)
	}
	c.snd.stop(err)
	if errors.Is(err, ErrEPIPE) {
		_ = c.nc.SetReadDeadline(time.Now().Add(c.opts.Linger))
		return
	}
	_ = c.nc.Close()
}

// Err returns why the connection ended, or nil.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Done is closed when the connection has ended and [Handler.Closed] returned.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Agreed returns what the handshake agreed on. Its limits are the server's.
func (c *Conn) Agreed() frame.HelloAck { return c.ack }

// Client returns what the client said in the handshake. Of a client's own
// connection, it is what it said itself.
func (c *Conn) Client() frame.Hello { return c.from }

// RTT returns the last round trip that was measured, or 0.
func (c *Conn) RTT() time.Duration { return time.Duration(c.rtt.Load()) }

// Starved tells whether the peer may have to wait with what it sends until messages that were kept are released.
func (c *Conn) Starved() bool { return c.rx.starved() }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Certificates returns what the peer has proved itself with over TLS, its own first; none if there is
// no TLS, or it has shown none.
func (c *Conn) Certificates() []*x509.Certificate {
	secure, is := c.nc.(secured)
	if !is {
		return nil
	}
	return secure.ConnectionState().PeerCertificates
}

// Send implements [Peer].
func (c *Conn) Send(ctx context.Context, m *Message) error { return c.snd.send(ctx, m, true) }

// TrySend implements [Peer].
func (c *Conn) TrySend(m *Message) error { return c.snd.send(nil, m, true) } //nolint:staticcheck // nil: do not wait

// Queue implements [Peer].
func (c *Conn) Queue(m *Message) error { return c.snd.send(nil, m, false) } //nolint:staticcheck // nil: do not wait

// Flush writes what was queued outside of [Handler.Message].
func (c *Conn) Flush() { c.snd.flush() }

// FlushAfter has what is queued on o written at the end of the round of c's reader in which the
// caller handles a message: one write for all that the round leads to. It is for [Handler.Message]
// alone.
func (c *Conn) FlushAfter(o *Conn) {
	if o != c && !slices.Contains(c.rd.others, o) {
		c.rd.others = append(c.rd.others, o)
	}
}

// Drop takes a long message that is still being sent out of the queue: nothing of it was
// sent, or it is cut; then the peer must be told by a CANCEL of the call, or an ERROR for it. If it is
// not there, all of it is sent, or about to be.
func (c *Conn) Drop(seq uint64) (unsent, cut bool) { return c.snd.drop(seq) }

// Hold implements [Peer].
func (c *Conn) Hold() bool {
	ok, first := c.hold.acquire()
	if first {
		c.busySince.Store(c.owner.clock.Load())
	}
	return ok
}

// Release implements [Peer].
func (c *Conn) Release() {
	last, shut := c.hold.release()
	if last {
		c.idleSince.Store(c.owner.clock.Load())
		if c.owner.idle != nil {
			c.owner.idle()
		}
	}
	if shut {
		go c.finish()
	}
}

// Held returns how many references there are: what is outstanding.
func (c *Conn) Held() int { return c.hold.held() }

// Close ends the connection at once.
func (c *Conn) Close() error {
	c.end(ErrClosed)
	return nil
}

// GoAway is how a server ends a connection: it tells the client to send no more
// calls. Those with a seq above the last one that has arrived will not run. The
// client closes the connection when nothing is outstanding; GoAway does, when
// the grace or ctx is over.
func (c *Conn) GoAway(ctx context.Context, why frame.GoAway) error {
	err := c.sayGoAway(&why, c.lastCall())
	timer := time.NewTimer(why.Grace)
	defer timer.Stop()
	if err == nil {
		select {
		case <-c.done:
		case <-timer.C:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		c.written(ctx)
	}
	c.end(ErrClosed)
	return err
}

// written waits until what is queued has been written, for as long as the connection lingers.
func (c *Conn) written(ctx context.Context) bool {
	timer := time.NewTimer(c.opts.Linger)
	defer timer.Stop()
	select {
	case <-c.snd.drained():
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// Shut is how a client ends a connection: nobody may hold it any more, and when
// nobody does, it is closed.
func (c *Conn) Shut() {
	if first, held := c.hold.shut(); first && !held {
		go c.finish()
	}
}

// finish closes a connection that nobody holds: the peer has a right to what is
// queued.
func (c *Conn) finish() {
	if c.sayGoAway(&frame.GoAway{Reason: frame.ReasonIdle}, c.lastCall()) == nil {
		c.written(context.Background())
	}
	c.end(ErrClosed)
}

func (c *Conn) sayGoAway(why *frame.GoAway, last uint64) error {
	return c.TrySend(&Message{Header: frame.Header{Type: frame.TypeGoAway, Seq: last}, Body: why.Append(nil)})
}

// lastCall lets no more calls in, and returns the last one that was.
func (c *Conn) lastCall() uint64 { return c.calls.Or(goneAway) &^ goneAway }

// admit tells whether a call that has arrived may run.
func (c *Conn) admit(seq uint64) bool {
	for {
		was := c.calls.Load()
		last := was &^ goneAway
		if seq <= last {
			return true
		}
		if was != last {
			return false
		}
		if c.calls.CompareAndSwap(was, seq) {
			return true
		}
	}
}

// hear notes that the peer lives.
func (c *Conn) hear() {
	if !c.heard.Load() {
		c.heard.Store(true)
	}
}
