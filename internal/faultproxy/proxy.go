package faultproxy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// Direction is one of the two of a connection.
type Direction int

// Directions.
const (
	ToServer Direction = iota
	ToClient
)

// Proxy passes TCP connections on. It is safe for concurrent use.
type Proxy struct {
	listener net.Listener
	target   func() string
	running  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	refuse bool
	frozen [2]chan struct{} // by direction: closed by Thaw; nil: not frozen
	delay  time.Duration
	after  [2]int64 // bytes of new connections; negative: no bound
	cuts   int      // how many connections are still to be bounded so; negative: all
	passed [2]int64 // bytes, of all connections
	taken  int      // connections
	pipes  map[*pipe]struct{}
}

// pipe is one connection.
type pipe struct {
	p     *Proxy
	ends  [2]*net.TCPConn // server's, client's
	left  [2]int64
	lost  bool // under the proxy's lock
	once  sync.Once
	ended chan struct{}
}

// New starts a proxy on a port of the loopback interface. target is asked for the
// server's address at every connection.
func New(target func() string) (*Proxy, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{listener: l, target: target, after: [2]int64{-1, -1}, cuts: -1, pipes: map[*pipe]struct{}{}}
	p.running.Go(p.accept)
	return p, nil
}

// Addr is where clients connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Freeze stops forwarding, also of new connections: they are taken, and then nothing
// comes.
func (p *Proxy) Freeze() {
	p.FreezeOne(ToServer)
	p.FreezeOne(ToClient)
}

// FreezeOne is Freeze for one direction: the other goes on.
func (p *Proxy) FreezeOne(d Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen[d] == nil {
		p.frozen[d] = make(chan struct{})
	}
}

// Thaw goes on forwarding.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for d, frozen := range p.frozen {
		if frozen != nil {
			close(frozen)
			p.frozen[d] = nil
		}
	}
}

// Delay makes everything take that long each way.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Refuse says whether new connections are ended at once.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// CutAfter ends new connections when that many bytes have passed in one direction;
// negative: it does not.
func (p *Proxy) CutAfter(d Direction, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after[d] = bytes
}

// CutNext says how many connections CutAfter is for, from now on; negative: all.
func (p *Proxy) CutNext(connections int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts = connections
}

// Passed returns how many bytes have passed in one direction, over all connections.
func (p *Proxy) Passed(d Direction) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed[d]
}

// Taken returns how many connections there were.
func (p *Proxy) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// Cut ends all connections as if both sides had closed them.
func (p *Proxy) Cut() { p.each(func(c *pipe) { c.end(false) }) }

// Reset ends all connections by RST; what is on its way is lost.
func (p *Proxy) Reset() { p.each(func(c *pipe) { c.end(true) }) }

// Lose makes the connections that there are pass nothing any more, as if something on
// the way had forgotten them: nobody is told. New ones are as ever.
func (p *Proxy) Lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pipes {
		c.lost = true
	}
}

// HalfClose says to all servers that their clients send nothing any more.
func (p *Proxy) HalfClose() { p.each(func(c *pipe) { _ = c.ends[ToServer].CloseWrite() }) }

func (p *Proxy) each(do func(*pipe)) {
	p.mu.Lock()
	all := make([]*pipe, 0, len(p.pipes))
	for c := range p.pipes {
		all = append(all, c)
	}
	p.mu.Unlock()
	for _, c := range all {
		do(c)
	}
}

// Close ends the proxy and all connections.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.listener.Close()
	p.Thaw()
	p.Cut()
	p.running.Wait()
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	return nil
}
