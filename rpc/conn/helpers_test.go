package conn

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/rpc/frame"
)

// patience is how long a test waits for what must happen. It is never waited
// for when all is well.
const patience = time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers every call with its own body.
type echo struct {
	spawn  bool // in a goroutine for each call
	closed chan error
}

func (e *echo) Message(p Peer, in *In) {
	if in.Type != frame.TypeCall {
		return
	}
	if e.spawn {
		kept := in.Keep()
		go func() { _ = p.Send(context.Background(), answerTo(kept, kept)) }()
		return
	}
	if len(in.Body) < LongBody && p.Queue(answerTo(in, nil)) == nil {
		return
	}
	kept := in.Keep()
	m := answerTo(kept, kept)
	if p.Queue(m) != nil {
		go func() { _ = p.Send(context.Background(), m) }()
	}
}

func answerTo(in *In, owner Releaser) *Message {
	return &Message{Header: frame.Header{Type: frame.TypeReply, Priority: in.Priority, Seq: in.Seq}, Body: in.Body, Owner: owner}
}

func (e *echo) Closed(_ Peer, err error, _ []uint64) {
	if e.closed != nil {
		e.closed <- err
	}
}

// caller matches replies to calls by their seq.
type caller struct {
	mu      sync.Mutex
	seq     uint64
	waiting map[uint64]chan []byte
	sentTo  map[uint64]Peer // those that wait
	notRun  map[uint64]bool // those that were sent to a server that had left by then, until their callers know
	closed  chan error
	unsent  []uint64
}

func newCaller() *caller {
	return &caller{waiting: map[uint64]chan []byte{}, closed: make(chan error, 1)}
}

func (c *caller) Message(p Peer, in *In) {
	if in.Type == frame.TypeGoAway {
		c.left(p, in.Seq)
	}
	if in.Type != frame.TypeReply {
		return
	}
	c.mu.Lock()
	reply := c.waiting[in.Seq]
	delete(c.waiting, in.Seq)
	c.mu.Unlock()
	if reply != nil {
		reply <- append([]byte(nil), in.Body...)
	}
}

// left notes what a server that leaves does not run: what it got behind that call.
func (c *caller) left(p Peer, last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for seq, reply := range c.waiting {
		if seq > last && c.sentTo[seq] == p {
			delete(c.waiting, seq)
			if c.notRun == nil {
				c.notRun = map[uint64]bool{}
			}
			c.notRun[seq] = true
			close(reply)
		}
	}
}

// errNotRun means that a call is to be made again, elsewhere.
var errNotRun = errors.New("the server had left")

func (c *caller) Closed(_ Peer, err error, unsent []uint64) {
	c.mu.Lock()
	for seq, reply := range c.waiting {
		delete(c.waiting, seq)
		close(reply)
	}
	c.unsent = unsent
	c.mu.Unlock()
	c.closed <- err
}

func (c *caller) call(ctx context.Context, p Peer, prio frame.Priority, body []byte) ([]byte, error) {
	reply := make(chan []byte, 1)
	c.mu.Lock()
	c.seq++
	seq := c.seq
	c.waiting[seq] = reply
	if c.sentTo == nil {
		c.sentTo = map[uint64]Peer{}
	}
	c.sentTo[seq] = p
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.sentTo, seq)
		delete(c.notRun, seq)
	}()
	err := p.Send(ctx, &Message{Header: frame.Header{Type: frame.TypeCall, Priority: prio, Seq: seq}, Ext: frame.Ext{Method: 1}, Body: body})
	if err != nil {
		c.mu.Lock()
		delete(c.waiting, seq)
		c.mu.Unlock()
		return nil, err
	}
	select {
	case got, ok := <-reply:
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case c.notRun[seq]:
			return nil, errNotRun
		case !ok:
			return nil, ErrCut
		}
		return got, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// sockets returns both ends of a connection.
func sockets(t testing.TB, network string) (a, b net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err = net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func admitAll(h *frame.Hello) frame.HelloAck {
	return frame.Answer(h, frame.HelloAck{Features: frame.FeatureStreams})
}

// join makes a connection of two sockets.
func join(t testing.TB, a, b net.Conn, client, server Handler, opts Options) (c, s *Conn) {
	t.Helper()
	accepted := make(chan error, 1)
	go func() {
		var err error
		s, err = Accept(t.Context(), b, admitAll, server, opts)
		accepted <- err
	}()
	c, err := Connect(t.Context(), a, frame.Hello{}, client, opts)
	if e := <-accepted; e != nil || err != nil {
		t.Fatal(err, e)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = s.Close()
		<-c.Done()
		<-s.Done()
	})
	return c, s
}
