package client

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"rpcpool.dev/internal/durations"
	"rpcpool.dev/rpc/compress"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// Options of a Client. The zero value of each field means its default.
type Options struct {
	Session   session.ClientOptions // Rand: crypto/rand
	Pool      conn.PoolOptions      // Handler is the client's
	Service   string                // name of the service, for people
	Grace     time.Duration         // for a server to say what has become of a call that was given up. Default 100 ms
	Compress  func(net.Addr) bool   // tells whether bodies to an address may be compressed. Default: [wire.Faraway]
	JoinBlobs []JoinBlobs           // ways to the blobs of servers, the best first. Default: none, all bytes go in messages
	OneWayEnd func(*Call)           // is told how one-way calls end. Default: nobody is
	Log       *slog.Logger          // default: none
}

// ErrClosed is why a client that was closed does nothing any more.
var ErrClosed = errors.New("client is closed")

// Client calls the servers of one service. It is safe for concurrent use.
type Client struct {
	opts    Options
	pool    *conn.Pool
	service *conn.Service
	start0  time.Time
	updates sync.Mutex // one Update at a time
	stores  stores

	mu        sync.Mutex
	session   *session.Client
	peers     map[string]*peer // by server id
	list      []*peer          // that may get calls, the nearest first
	lines     map[conn.Peer]*line
	lastConn  session.Conn
	numbers   map[string]uint32 // of methods
	packers   *compress.Compressors
	turns     sync.Pool     // of *turn
	ready     chan struct{} // closed when there is a server, if somebody waits for one
	closed    bool
	budget    budget
	delays    map[string]*delays // of methods whose calls are hedged
	hedges    HedgeCounts
	exhausted uint64
	ends      Ends
	took      durations.Histogram
	parked    []*call        // that wait for a server
	awaiting  map[*call]bool // that wait for results of others

	stop       chan struct{}
	background sync.WaitGroup
}

// peer is a server.
type peer struct {
	endpoint conn.Endpoint
	session  *session.Peer
	front    *conn.FrontEnd
	near     int                 // the less, the nearer
	line     *line               // the newest connection; nil: none
	open     int                 // calls that are assigned to it
	shun     time.Duration       // until then others are preferred, as it has refused a call
	shunFor  time.Duration       // how long that was the last time; 0: it has answered one since
	gaveUp   map[uint64]struct{} // calls that had no answer, and may yet have one with blobs
	retired  bool
	store    *store // what there was when it was retired; nil: nothing
	dead     bool   // and nothing is open there, nor will be
	why      error  // of the last dial that failed; nil: none since the last that did not
}

// line is a connection to a peer.
type line struct {
	id    session.Conn
	peer  *peer
	ref   conn.Ref
	bound map[uint32]bool // methods, by the client's number
	away  bool            // the server takes no calls on it any more
	pack  *packing        // nil: nothing is compressed
	met   bool            // the server has welcomed the session on it
}

// New makes a client that knows no servers yet. It must be closed.
func New(opts Options) (*Client, error) {
	if opts.Grace == 0 {
		opts.Grace = 100 * time.Millisecond
	}
	if opts.Compress == nil {
		opts.Compress = wire.Faraway
	}
	if opts.OneWayEnd == nil {
		opts.OneWayEnd = func(*Call) {}
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Session.Rand == nil {
		opts.Session.Rand = func() uint64 {
			var b [8]byte
			_, _ = rand.Read(b[:])
			return binary.LittleEndian.Uint64(b[:])
		}
	}
	c := &Client{
		opts: opts, start0: time.Now(), session: session.NewClient(opts.Session), budget: newBudget(),
		peers: map[string]*peer{}, lines: map[conn.Peer]*line{}, numbers: map[string]uint32{}, delays: map[string]*delays{}, awaiting: map[*call]bool{}, stop: make(chan struct{}),
	}
	c.stores.all, c.stores.offers = map[string]*store{}, map[conn.Peer]*asking{}
	if len(opts.JoinBlobs) > 0 {
		opts.Pool.Hello.Features |= frame.FeatureBlobs | frame.FeatureSharedMemory | frame.FeatureBulk | frame.FeatureBlobReuse
	}
	c.packers = compress.New(compress.Options{Now: time.Now, MaxPlain: opts.Pool.Conn.MaxMessage})
	opts.Pool.Handler = (*handler)(c)
	opts.Pool.Hello.Features |= frame.FeatureStreams | frame.FeatureCompression | frame.FeaturePipelining
	opts.Pool.Hello.Compressors |= c.packers.Mask()
	var err error
	if c.pool, err = conn.NewPool(opts.Pool); err != nil {
		return nil, fmt.Errorf("client of service %q: %w", opts.Service, err)
	}
	c.service = c.pool.Service(opts.Service)
	c.session.Tick(c.now(), nil) // nothing is due; what passes from now on is seen
	c.background.Go(c.tick)
	return c, nil
}

// now is the time on the client's clock.
func (c *Client) now() time.Duration { return time.Since(c.start0) + 1 }

// at is what the client's clock shows at a time. The real clock is looked at once: between
// two looks a thread may be stopped for long, and a deadline would be late by that.
func (c *Client) at(t time.Time) time.Duration {
	now := time.Now()
	return max(t.Sub(now)+now.Sub(c.start0)+1, 1)
}

// number is the client's number for a method, the same on all its connections.
func (c *Client) number(method string) uint32 {
	n := c.numbers[method]
	if n == 0 {
		n = uint32(len(c.numbers) + 1)
		c.numbers[method] = n
	}
	return n
}

// Update replaces the list of servers.
func (c *Client) Update(endpoints []conn.Endpoint) error {
	c.updates.Lock()
	defer c.updates.Unlock()
	if err := c.service.Update(endpoints); err != nil {
		return err //nolint:wrapcheck // it names the service
	}
	fronts := map[string]*conn.FrontEnd{}
	for _, f := range c.service.FrontEnds() {
		fronts[f.Endpoint().ID] = f
	}
	t := c.begin()
	c.list = c.list[:0:0]
	for _, e := range endpoints {
		p := c.peers[e.ID]
		if p != nil && p.endpoint != e {
			c.retire(t, p)
			p = nil
		}
		if p == nil {
			p = &peer{endpoint: e, near: nearness(c.opts.Pool.Node, &e)}
			p.session = c.session.Add(p)
			c.peers[e.ID] = p
		}
		p.front = fronts[e.ID]
		c.list = append(c.list, p)
	}
	slices.SortStableFunc(c.list, func(p, q *peer) int { return p.near - q.near })
	for id, p := range c.peers {
		if fronts[id] == nil {
			c.retire(t, p)
		}
	}
	if c.ready != nil {
		close(c.ready)
		c.ready = nil
	}
	c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
	return nil
}

// retire lets a server have no new calls.
func (c *Client) retire(t *turn, p *peer) {
	p.retired, p.store = true, c.stores.at(p.endpoint)
	if c.peers[p.endpoint.ID] == p {
		delete(c.peers, p.endpoint.ID)
	}
	t.out = c.session.Retire(p.session, t.out)
	c.forget(t, p)
	c.abandoned(t, p)
}

// abandoned drops a retired server when there is no connection to it: there will be
// none again.
func (c *Client) abandoned(t *turn, p *peer) {
	if p.retired && p.line == nil {
		c.dead(t, p)
	}
}

// dead drops a server.
func (c *Client) dead(t *turn, p *peer) {
	t.out = c.session.Dead(t.now, p.session, false, t.out)
	if !p.dead {
		p.dead = true
		c.left(p)
	}
}

// forget drops a retired server when nothing is open there.
func (c *Client) forget(t *turn, p *peer) {
	if p.retired && p.open == 0 {
		c.dead(t, p)
	}
}

// Fenced says that a server is dead, and runs nothing any more: what is open there
// ends, or goes to others.
func (c *Client) Fenced(server string) {
	t := c.begin()
	dead := map[*peer]bool{}
	for _, l := range c.lines { // those too that have left the list
		dead[l.peer] = l.peer.endpoint.ID == server
	}
	if p := c.peers[server]; p != nil {
		p.retired = true
		delete(c.peers, server)
		c.list = slices.DeleteFunc(slices.Clone(c.list), func(q *peer) bool { return q == p })
		dead[p] = true
	}
	for p, is := range dead {
		if is {
			t.out = c.session.Dead(t.now, p.session, true, t.out)
		}
	}
	c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
}

// Ready waits until at least n servers are known.
func (c *Client) Ready(ctx context.Context, n int) error {
	for {
		c.mu.Lock()
		have, closed := len(c.list), c.closed
		if have >= n {
			c.mu.Unlock()
			return nil
		}
		if c.ready == nil {
			c.ready = make(chan struct{})
		}
		ready := c.ready
		c.mu.Unlock()
		if closed {
			return ErrClosed
		}
		select {
		case <-ready:
		case <-c.stop:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("service %q has %d servers, want %d: %w", c.opts.Service, have, n, context.Cause(ctx))
		}
	}
}

// Counts are what has happened since the client was made, and what there is.
type Counts struct {
	session.ClientCounts
	HedgeCounts
	Exhausted uint64              // refused calls that were tried nowhere else, as too many are refused
	Ends      Ends                // of calls; a call that is hedged, or repeated, is several
	Took      durations.Histogram // from when they were made until then
	Sockets   conn.Counts
	Packed    compress.Counts
	Servers   int
	Open      int // calls
	Conns     int
}

// Ends are how often calls have ended, by code and by whether they ran.
type Ends [session.Codes][session.Executed + 1]uint64

// count counts the end of a call.
func (c *Client) count(now time.Duration, k *call) {
	if o := &k.inv.Outcome; o.Code < session.Codes && o.Execution <= session.Executed {
		c.ends[o.Code][o.Execution]++
	}
	if k.born > 0 { // else its context ended before it began
		c.took.Add(now - k.born)
	}
}

// Counts returns what there is, and what has happened.
func (c *Client) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := Counts{ClientCounts: c.session.Counts, HedgeCounts: c.hedges, Exhausted: c.exhausted, Ends: c.ends, Took: c.took, Servers: len(c.list), Conns: len(c.lines)}
	n.Sockets, n.Packed = c.pool.Counts(), c.packers.Counts()
	for _, p := range c.peers {
		n.Open += p.open
	}
	return n
}

func (c *Client) tick() {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-ticker.C:
			t := c.begin()
			t.out = c.session.Tick(t.now, t.out)
			c.unpark(t)
			c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
		}
	}
}

// Close ends all sessions and connections. Calls that are open end: what may have been
// sent is Indeterminate.
func (c *Client) Close() error {
	t := c.begin()
	if c.closed {
		c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
		return nil
	}
	c.closed = true
	close(c.stop)
	if c.ready != nil {
		close(c.ready)
		c.ready = nil
	}
	var left []*session.Peer
	for _, p := range c.peers {
		if p.open > 0 {
			left = append(left, p.session)
		}
	}
	c.list = nil
	c.unpark(t)
	t.out = c.session.Bye(t.now, t.out)
	for _, p := range left {
		t.out = c.session.Dead(t.now, p, false, t.out)
	}
	c.end(nil, t, nil) //nolint:staticcheck // nil: do not wait
	err := c.pool.Close()
	c.background.Wait()
	c.stores.close()
	return err //nolint:wrapcheck // it says all
}
