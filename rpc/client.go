package rpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/blob/local"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/session"
)

// ClientOptions of a Client. The zero value of each field means its default.
type ClientOptions struct {
	Service      string              // its name, for people and for the servers
	Token        func() []byte       // credentials, for each connection that is made. Default: none
	TLS          *tls.Config         // to servers over TCP; nil: none
	Node         string              // boot id of this node; servers on it are called over their Unix socket
	IdleTimeout  time.Duration       // a connection with nothing outstanding is closed after it. Default 30 s; negative: never
	Backoff      conn.Backoff        // how long a server that cannot be reached is left alone. Default 100 ms, doubled up to 10 s
	Connect      time.Duration       // longest time to connect. Default 8 s
	Dial         conn.Dial           // makes sockets. Default: net.Dialer
	MaxConns     int                 // at the same time; idle ones make room. Default 512
	Open         int                 // calls that may be open at one server. Default 512; 1 makes calls serial
	Failover     time.Duration       // how long a server may be out of reach until idempotent calls go to another. Default 3 s
	Grace        time.Duration       // for a server to say what has become of a call that was given up. Default 100 ms
	Compress     func(net.Addr) bool // tells whether arguments for an address may be compressed. Default: if it is not on this machine
	Interceptors []Interceptor       // the first is the outermost
	Codecs       codec.Options
	Conn         conn.Options
	// BlobThreshold is from which length on arguments go to the server by its blobs: in memory
	// that it shares, if it is on this machine. Results do, too, once one was so long, from 64 KiB
	// on. Default: what the server says, which is [LongBlob] if it has workers and [InProcessBlob] if
	// not; negative: all bytes are in messages.
	BlobThreshold int
	// FarBlobs says how the bytes of blobs go to servers that share no memory with this process.
	// Dial, Name and Token are filled in.
	FarBlobs       remote.Options
	FarThreshold   int                            // BlobThreshold of such servers, if that is not longer. Default: [FarBlob], or [FarWorkerBlob] if the server has workers; [LongBlob] while bytes go past the connection
	NoSharedMemory bool                           // treat servers of this machine as if they were of another
	OneWayEnd      func(method string, err error) // is told how one-way calls end; not of those that are spawned, whose futures say it
	Log            *slog.Logger                   // default: none
}

// Client calls the servers of one service. It is safe for concurrent use.
type Client struct {
	opts   ClientOptions
	codecs *codec.Codecs
	c      *client.Client

	threshold int         // 0: nothing goes by blobs
	handed    atomic.Bool // a caller has a blob, so there may be some among arguments
	outs      sync.Map    // of uint64 → *Blob: blobs that calls are to make
	lastOut   atomic.Uint64
	promising
	numbers atomic.Uint64 // of futures
}

// Dial makes a client of the servers with these addresses (see [ParseAddress]). It connects
// when something is to be sent.
func Dial(opts ClientOptions, addresses ...string) (*Client, error) {
	endpoints := make([]conn.Endpoint, 0, len(addresses))
	for _, a := range addresses {
		e, err := ParseAddress(a)
		if err != nil {
			return nil, err
		}
		endpoints = append(endpoints, e)
	}
	c, err := NewClient(opts)
	if err != nil {
		return nil, err
	}
	return c, c.Update(endpoints)
}

// NewClient makes a client that knows no servers yet. It must be closed.
func NewClient(opts ClientOptions) (*Client, error) {
	codecs, err := codec.New(opts.Codecs)
	if err != nil {
		return nil, fmt.Errorf("rpc client: %w", err)
	}
	pool := conn.PoolOptions{Conn: opts.Conn, Node: opts.Node, IdleTimeout: opts.IdleTimeout, MaxConns: opts.MaxConns, Dial: opts.Dial, Backoff: opts.Backoff, ConnectTimeout: opts.Connect}
	pool.Token, pool.Hello.Target, pool.Hello.Codecs = opts.Token, []byte(opts.Service), codecs.Mask()
	o := client.Options{
		Service: opts.Service, Pool: pool, Grace: opts.Grace, Log: opts.Log, Compress: opts.Compress,
		Session: session.ClientOptions{Open: opts.Open, FailoverAfter: opts.Failover},
	}
	threshold := max(opts.BlobThreshold, 0)
	if opts.BlobThreshold == 0 {
		threshold = LongBlob
	}
	if threshold > 0 {
		far, near := &opts.FarBlobs, local.Join(max(opts.BlobThreshold, 0))
		o.JoinBlobs = []client.JoinBlobs{joinBlobs(near, opts.joinFar(), client.BlobFacts{
			NoShared: opts.NoSharedMemory, Mover: far.Mover != nil, MoverOff: far.Mode == remote.Off, MoverOnly: far.Mode == remote.Required,
		})}
	}
	if opts.OneWayEnd != nil {
		o.OneWayEnd = func(u *client.Call) { opts.OneWayEnd(u.Method, errorOf(u)) }
	}
	c, err := client.New(o)
	if err != nil {
		return nil, fmt.Errorf("rpc client: %w", err)
	}
	return &Client{opts: opts, codecs: codecs, c: c, threshold: threshold}, nil
}

// Update replaces the list of servers. Those that stay keep their connections; what was
// not sent to one that goes is sent to another, the rest is waited for.
func (c *Client) Update(servers []conn.Endpoint) error {
	if c.opts.TLS != nil {
		for i := range servers {
			servers[i].TLS = c.opts.TLS
		}
	}
	return c.c.Update(servers) //nolint:wrapcheck // it names the service
}

// Ready waits until at least n servers are known.
func (c *Client) Ready(ctx context.Context, n int) error { return c.c.Ready(ctx, n) } //nolint:wrapcheck // it names the service

// Fenced says that a server is dead, and runs nothing any more: what is open there ends,
// or goes to others.
func (c *Client) Fenced(server string) { c.c.Fenced(server) }

// Counts returns what there is, and what has happened.
func (c *Client) Counts() client.Counts { return c.c.Counts() }

// Outstanding returns the calls that have not ended, the oldest first.
func (c *Client) Outstanding() []client.Open { return c.c.Outstanding() }

// Close ends all sessions and connections. Calls that are open end.
func (c *Client) Close() error { return c.c.Close() } //nolint:wrapcheck // it says all

// errorOf is how a call has failed, nil if it has not.
func errorOf(u *client.Call) error {
	if u.Outcome.Code == session.OK {
		return nil
	}
	e := &Error{
		Method: u.Method, Code: Code(u.Outcome.Code), Execution: Execution(u.Outcome.Execution), Message: u.Text,
		XID: u.XID, Attempts: u.Attempts, Retry: u.Retry, Fenced: u.Outcome.Fenced, Detail: u.Detail,
	}
	if u.As != (XID{}) {
		e.XID = u.As
	}
	if e.Code == Unmet && u.Cause != nil {
		if e.cause = u.Cause(); e.cause != nil {
			e.Message = "its argument: " + e.cause.Error()
		}
	}
	if s := sourceOf(u); s != nil && (e.Code == Invalid || e.Code == Refused) {
		e.cause = s.err
	}
	if e.Code == Failed {
		var reason string
		reason, e.Detail = parseDetail(u.Detail)
		e.Reason = Reason(reason)
	}
	return e
}
