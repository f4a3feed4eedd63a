package remote

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/frame"
)

// Options of a Client. Dial must be set; zero values of the others are defaults.
type Options struct {
	Dial     func(context.Context) (net.Conn, error) // makes a socket to the server, with TLS if it has that
	Token    []byte                                  // credentials
	Target   []byte                                  // service that is wanted
	Name     string                                  // of this client, for people
	Lease    time.Duration                           // how long the server keeps what a client has that says nothing. Default 5 min
	Retry    time.Duration                           // how long is tried again what breaks. Default 30 s
	Idle     time.Duration                           // connections are closed when nothing is held for so long. Default 30 s
	Conns    int                                     // at the same time. Default 4
	Streams  int                                     // by which the bytes of one large blob go. Default 1
	Patience time.Duration                           // for the server to take or give a frame. Default 20 s
	Mover    Mover                                   // default: none
	Mode     MoverMode                               // of the mover
	MinMove  uint64                                  // bytes of a transfer that goes by the mover. Default 64 KiB
	Log      *slog.Logger                            // default: none

	now   func() time.Duration // for tests; default: the monotonic clock
	ticks <-chan time.Time     // for tests; default: often enough
}

const dialPatience = 5 * time.Second

// Client is a party of a host on another machine. It is safe for concurrent use.
type Client struct {
	opts    Options
	secret  [secretLen]byte
	slots   chan struct{} // one for each connection that is used
	end     context.CancelFunc
	ended   context.Context //nolint:containedctx // ends what goes on when the client is closed
	tasks   sync.WaitGroup
	account blob.Handle
	lease   time.Duration

	mu       sync.Mutex
	err      error // why it is of no use any more
	known    bool  // the server has welcomed it
	copies   bool  // and copies what is there
	free     []*end
	open     map[*end]struct{}
	held     int                 // blobs, views, transfers, holds
	used     time.Duration       // when held became 0
	said     time.Duration       // when the server heard of this client
	number   uint64              // last that was used
	wanted   map[uint64]struct{} // transfers that have not ended
	finished []uint64            // transfers that have ended, above one that has not
	moved    Moved
	moves    backoff // of the mover
}

// Dial joins the host of a server.
func Dial(ctx context.Context, o Options) (*Client, error) {
	if o.Dial == nil || o.Conns < 0 || o.Streams < 0 || o.Lease < 0 || o.Idle < 0 || o.Patience < 0 || o.Retry < 0 {
		return nil, errors.New("bad options: Dial must be set, nothing may be negative")
	}
	o.Lease, o.Idle, o.Patience = cmp.Or(o.Lease, maxLease), cmp.Or(o.Idle, 30*time.Second), cmp.Or(o.Patience, 20*time.Second)
	o.Retry = cmp.Or(o.Retry, 30*time.Second)
	o.Conns, o.Streams, o.MinMove = cmp.Or(o.Conns, 4), cmp.Or(o.Streams, 1), cmp.Or(o.MinMove, 64<<10)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.now == nil {
		begun := time.Now()
		o.now = func() time.Duration { return time.Since(begun) }
	}
	if o.Mover == nil && o.Mode == Required {
		return nil, &MoverError{Reason: "no-mover"}
	}
	c := &Client{
		opts: o, slots: make(chan struct{}, o.Conns), open: map[*end]struct{}{}, wanted: map[uint64]struct{}{},
		moves: backoff{first: time.Second, most: time.Minute},
	}
	_, _ = rand.Read(c.secret[:]) // never fails
	c.ended, c.end = context.WithCancel(context.Background())
	c.hold()
	defer c.unhold()
	if err := c.once(ctx, func(*end) error { return nil }); err != nil {
		c.end()
		return nil, fmt.Errorf("server of blobs: %w", err)
	}
	c.tasks.Go(c.tend)
	return c, nil
}

// Account is the handle by which results are made for this client.
func (c *Client) Account() blob.Handle { return c.account }

// Domain is the host's.
func (c *Client) Domain() blob.Domain { return c.account.Domain }

// Close leaves the host, which frees what the client has.
func (c *Client) Close() error {
	c.mu.Lock()
	if errors.Is(c.err, ErrClosed) {
		c.mu.Unlock()
		return nil
	}
	var last *end
	if n := len(c.free); n > 0 && c.err == nil {
		last = c.free[n-1]
	}
	c.err = ErrClosed
	c.mu.Unlock()
	if last != nil && last.within(linger) == nil { // else the lease ends it
		last.seq++
		_ = last.send(frame.TypeBulkAsk, last.seq, 0, (&message{Op: opLeave}).append)
	}
	c.end()
	c.mu.Lock()
	for e := range c.open {
		_ = e.Close()
	}
	c.mu.Unlock()
	c.tasks.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := range c.open {
		e.close()
		delete(c.open, e)
	}
	c.free = nil
	return nil
}

// Hold keeps the connection of a client that has nothing at the moment, until the function
// that it returns is called.
func (c *Client) Hold() (release func()) {
	c.hold()
	return sync.OnceFunc(c.unhold)
}

func (c *Client) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held++
}

func (c *Client) unhold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held--; c.held == 0 {
		c.used = c.opts.now()
	}
}

// Conns returns how many connections there are.
func (c *Client) Conns() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// Moved tells how transfers went, since the start.
func (c *Client) Moved() Moved {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moved.clone()
}

// byConn counts a transfer that has gone by the connection.
func (c *Client) byConn(bytes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved.conn(bytes)
}

// tend renews the lease, and closes connections that nobody needs.
func (c *Client) tend() {
	ticks := c.opts.ticks
	if ticks == nil {
		t := time.NewTicker(max(min(c.lease/12, c.opts.Idle/8), 10*time.Millisecond))
		defer t.Stop()
		ticks = t.C
	}
	for {
		select {
		case <-c.ended.Done():
			return
		case <-ticks:
			c.look()
		}
	}
}

func (c *Client) look() {
	now := c.opts.now()
	c.mu.Lock()
	renew := now >= c.said+c.lease/3 && c.err == nil
	var idle []*end
	if c.held == 0 && now >= c.used+c.opts.Idle {
		idle, c.free = c.free, nil
	}
	for _, e := range idle {
		delete(c.open, e)
	}
	c.mu.Unlock()
	for _, e := range idle {
		e.close()
	}
	if renew {
		c.spawn(func() {
			ctx, cancel := context.WithTimeout(c.ended, c.lease/3)
			defer cancel()
			_, err := c.ask(ctx, "renew the lease", &message{Op: opRenew})
			if err != nil && ctx.Err() == nil {
				c.opts.Log.Warn("lease of blobs is not renewed", "err", err)
			}
		})
	}
}

// begin numbers a transfer.
func (c *Client) begin() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.number++
	c.wanted[c.number] = struct{}{}
	c.held++
	return c.number
}

// done says that how a transfer ended is known. If it is not, the server is told to
// forget it first.
func (c *Client) done(number uint64, err error) {
	known := err == nil || isRefused(err)
	finish := func() {
		c.mu.Lock()
		delete(c.wanted, number)
		c.finished = append(c.finished, number)
		c.mu.Unlock()
		c.unhold()
	}
	if known || !c.spawn(func() {
		defer finish()
		ctx, cancel := context.WithTimeout(c.ended, c.lease)
		defer cancel()
		_ = c.runFor(ctx, c.lease, func(e *end) error { // then the server forgets all
			_, err := e.ask("forget", &message{Op: opForget, Number: number})
			return err
		})
	}) {
		finish()
	}
}

// spawn does something that Close waits for, unless the client is of no use any more.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.tasks.Go(f)
	return true
}

// ack is the number up to which the ends of all transfers are known.
func (c *Client) ack() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.low()
}

func (c *Client) low() uint64 {
	low := c.number
	for n := range c.wanted {
		low = min(low, n-1)
	}
	return low
}

// retire is one more transfer whose end is known, above those that ack says; 0: there is
// none. Each new transfer retires one, so the server has to remember few although one
// takes long.
func (c *Client) retire() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	low := c.low()
	c.finished = slices.DeleteFunc(c.finished, func(n uint64) bool { return n <= low })
	if len(c.finished) == 0 {
		return 0
	}
	n := c.finished[0]
	c.finished = c.finished[1:]
	return n
}
