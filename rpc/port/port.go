package port

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"rpcpool.dev/internal/fifo"
	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

// ErrClosed is why a port that was closed accepts nothing any more.
var ErrClosed = errors.New("port is closed")

// Options of a Port. The zero value of each field means its default.
type Options struct {
	// TLS ends the TLS of clients that begin with it. The name of HTTP/2 is added to its
	// protocols (ALPN). Default: who listens to native clients gets them, to say that there is none.
	TLS      *tls.Config
	Secure   bool          // clients that do not begin with TLS are closed, native ones by who listens to these: he gets TLS that fails, and says why
	Patience time.Duration // from the connection to the protocol. Default 5 s
	MostNew  int           // connections of which is not known yet what they speak. Default 1024
	Log      *slog.Logger  // of clients that were closed. Default: none
}

// Port is a listener that several protocols share.
type Port struct {
	listener net.Listener
	opts     Options
	ctx      context.Context //nolint:containedctx // ends what is new when the port is closed
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	outs    map[frame.Protocol]*out
	fresh   fifo.List[*newcomer]
	refused [conn.Refusals]uint64
}

// newcomer is a connection of which is not known yet what it speaks.
type newcomer struct {
	end   context.CancelFunc
	gone  bool
	place fifo.Node[*newcomer]
}

// New makes a port of a listener, which it owns from now on. It must be closed.
func New(l net.Listener, opts Options) (*Port, error) {
	if opts.Patience < 0 || opts.MostNew < 0 {
		return nil, fmt.Errorf("bad options of a port: patience %v, %d new connections", opts.Patience, opts.MostNew)
	}
	if opts.Patience == 0 {
		opts.Patience = 5 * time.Second
	}
	if opts.MostNew == 0 {
		opts.MostNew = 1024
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.TLS != nil && !slices.Contains(opts.TLS.NextProtos, "h2") {
		opts.TLS = opts.TLS.Clone()
		opts.TLS.NextProtos = append(opts.TLS.NextProtos, "h2")
	}
	p := &Port{listener: l, opts: opts, outs: map[frame.Protocol]*out{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

// Listen returns the listener of the clients that speak one of these protocols. It
// replaces one that was there. Whoever speaks something that nobody listens to is closed.
func (p *Port) Listen(protocols ...frame.Protocol) net.Listener {
	o := &out{port: p, conns: make(chan net.Conn), done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, protocol := range protocols {
		p.outs[protocol] = o
	}
	return o
}

// Serve accepts until the port is closed. It waits out a shortage of descriptors.
func (p *Port) Serve() error {
	pause := time.Duration(0)
	for {
		c, err := p.listener.Accept()
		if err == nil {
			pause = 0
			p.take(c)
			continue
		}
		if p.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return ErrClosed
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		p.opts.Log.Warn("cannot accept", "err", err, "pause", pause)
		if !sleep.For(pause, p.ctx.Done()) {
			return ErrClosed
		}
	}
}

// take begins to look at a new connection.
func (p *Port) take(c net.Conn) {
	ctx, cancel := context.WithTimeout(p.ctx, p.opts.Patience)
	n := &newcomer{end: cancel}
	n.place.Value = n
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		cancel()
		_ = c.Close()
		return
	}
	if p.fresh.Len() >= p.opts.MostNew {
		oldest := p.fresh.Pop()
		oldest.gone = true
		oldest.end()
	}
	p.fresh.PushBack(&n.place)
	p.running.Go(func() {
		if err := p.direct(ctx, c); err != nil {
			p.opts.Log.Debug("client was closed", "client", c.RemoteAddr(), "err", err)
			_ = c.Close()
			p.count(n, err)
		}
		p.known(n)
	})
}

// count counts a client that was closed, unless it has gone, or the port has.
func (p *Port) count(n *newcomer, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	why, is := conn.RefusalOf(err)
	switch {
	case n.gone:
		why = conn.RefusedOverload
	case !is || p.closed:
		return
	}
	p.refused[why]++
}

// Refused counts the clients that were closed. Those that were handed on are not among them.
func (p *Port) Refused() [conn.Refusals]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

func refuse(why conn.Refusal, format string, args ...any) error {
	return &conn.RefusedError{Why: why, Err: fmt.Errorf(format, args...)}
}

// known ends that a connection is new.
func (p *Port) known(n *newcomer) {
	n.end()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !n.gone {
		p.fresh.Remove(&n.place)
	}
}

// direct hands a connection to who speaks its protocol.
func (p *Port) direct(ctx context.Context, c net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	known, protocol, err := p.protocolOf(ctx, c)
	if !stop() {
		return refuse(conn.RefusedTimeout, "it was too slow")
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	o := p.outs[protocol]
	p.mu.Unlock()
	if o == nil {
		return refuse(conn.RefusedProtocol, "nobody listens to protocol %d", protocol)
	}
	select {
	case o.conns <- known:
		return nil
	case <-o.done:
		return ErrClosed
	case <-ctx.Done():
		return refuse(conn.RefusedTimeout, "nobody took it")
	}
}

// protocolOf finds out what a client speaks.
func (p *Port) protocolOf(ctx context.Context, c net.Conn) (net.Conn, frame.Protocol, error) {
	known, protocol, err := look(c)
	switch {
	case err != nil:
		return nil, 0, err
	case protocol == frame.ProtocolTLS && p.opts.TLS == nil:
		return known, frame.ProtocolNative, nil
	case protocol == frame.ProtocolNative && p.opts.Secure:
		return tls.Server(known, p.opts.TLS), protocol, nil
	case protocol != frame.ProtocolTLS && p.opts.Secure:
		return nil, 0, refuse(conn.RefusedMismatch, "it does not speak TLS")
	case protocol != frame.ProtocolTLS:
		return known, protocol, nil
	}
	secure := tls.Server(known, p.opts.TLS)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, 0, refuse(conn.RefusedTLS, "TLS: %w", err)
	}
	if known, protocol, err = look(secure); protocol == frame.ProtocolTLS {
		return nil, 0, refuse(conn.RefusedProtocol, "TLS in TLS")
	}
	return known, protocol, err
}

// Addr returns the address of the port.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// Close closes the listener, all listeners of protocols, and all connections that have
// not been handed on.
func (p *Port) Close() error {
	p.mu.Lock()
	p.closed = true
	for _, o := range p.outs {
		o.close()
	}
	p.mu.Unlock()
	p.cancel()
	err := p.listener.Close()
	p.running.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing %v: %w", p.listener.Addr(), err)
	}
	return nil
}

// out is the listener of one or several protocols.
type out struct {
	port  *Port
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// Accept implements [net.Listener].
func (o *out) Accept() (net.Conn, error) {
	select {
	case c := <-o.conns:
		return c, nil
	case <-o.done:
		return nil, net.ErrClosed
	}
}

// Addr implements [net.Listener].
func (o *out) Addr() net.Addr { return o.port.Addr() }

// Close implements [net.Listener]. The port goes on: who speaks this is closed.
func (o *out) Close() error {
	o.close()
	return nil
}

func (o *out) close() { o.once.Do(func() { close(o.done) }) }
