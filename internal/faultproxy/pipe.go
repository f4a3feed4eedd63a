package faultproxy

import (
	"net"
	"time"
)

func (p *Proxy) accept() {
	for {
		nc, err := p.listener.Accept()
		if err != nil {
			return
		}
		client, _ := nc.(*net.TCPConn)
		p.running.Go(func() { p.take(client) })
	}
}

// take connects a client with the server.
func (p *Proxy) take(client *net.TCPConn) {
	p.mu.Lock()
	p.taken++
	refuse := p.refuse
	p.mu.Unlock()
	var server *net.TCPConn
	if !refuse {
		nc, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp", p.target())
		if err == nil {
			server, _ = nc.(*net.TCPConn)
		}
	}
	if server == nil {
		_ = client.SetLinger(0)
		_ = client.Close()
		return
	}
	c := &pipe{p: p, ends: [2]*net.TCPConn{server, client}, ended: make(chan struct{})}
	p.mu.Lock()
	if c.left = p.after; p.cuts == 0 {
		c.left = [2]int64{-1, -1}
	}
	p.cuts = max(p.cuts-1, min(p.cuts, 0))
	p.pipes[c] = struct{}{}
	closed := p.closed
	p.mu.Unlock()
	if closed {
		c.end(true)
	}
	p.running.Go(func() { c.forward(ToClient) })
	c.forward(ToServer)
}

// forward passes on what comes in one direction.
func (c *pipe) forward(d Direction) {
	from, to := c.ends[1-d], c.ends[d]
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !c.pass(d, to, buf[:n]) {
			return
		}
		if err != nil {
			c.end(false)
			return
		}
	}
}

// pass waits as long as it must, and writes. It tells whether the connection goes on.
func (c *pipe) pass(d Direction, to *net.TCPConn, b []byte) bool {
	p := c.p
	p.mu.Lock()
	frozen, delay, lost := p.frozen[d], p.delay, c.lost
	p.mu.Unlock()
	if lost {
		<-c.ended
		return false
	}
	if delay > 0 {
		time.Sleep(delay)
	}
	for frozen != nil {
		select {
		case <-frozen:
		case <-c.ended:
			return false
		}
		p.mu.Lock()
		frozen = p.frozen[d]
		p.mu.Unlock()
	}
	last := c.left[d] >= 0 && int64(len(b)) >= c.left[d]
	if last {
		b = b[:c.left[d]]
	}
	n, err := to.Write(b)
	p.mu.Lock()
	p.passed[d] += int64(n)
	p.mu.Unlock()
	if c.left[d] >= 0 {
		c.left[d] -= int64(n)
	}
	if err != nil || last {
		c.end(false)
		return false
	}
	return true
}

// end closes both sockets.
func (c *pipe) end(reset bool) {
	c.once.Do(func() {
		close(c.ended)
		for _, nc := range c.ends {
			if reset {
				_ = nc.SetLinger(0)
			}
			_ = nc.Close()
		}
		c.p.mu.Lock()
		delete(c.p.pipes, c)
		c.p.mu.Unlock()
	})
}
