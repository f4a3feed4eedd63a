package conn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

// TestFailover is S1.31 and F10, as far as connections go: one server of three
// ends with calls queued; those of which nothing was sent are done by another.
func TestFailover(t *testing.T) {
	block := &keeping{closed: make(chan error, 16)} // takes calls, answers none
	servers := []*testServer{startServer(t, &echo{}, nil), startServer(t, &echo{}, nil), startServer(t, block, func(o *ServerOptions) { o.Conn.Window = frame.MessageAllowance })}
	c := &resender{caller: caller{waiting: map[uint64]chan []byte{}}, sent: map[uint64]*Message{}}
	p := newPool(t, c, nil)
	s := newService(t, p, servers[0].endpoint("a"), servers[1].endpoint("b"), servers[2].endpoint("c"))
	c.service = s
	r, err := s.AcquireID(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	const calls = 1000
	var replies []chan []byte
	for i := range uint64(calls) { // more than the window takes
		reply := make(chan []byte, 1)
		replies = append(replies, reply)
		m := testCall(i+1, frame.PriorityNormal, 1000)
		c.mu.Lock()
		c.waiting[m.Seq], c.sent[m.Seq] = reply, m
		c.mu.Unlock()
		if err := r.Peer.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	r.Release()
	_ = servers[2].Close()
	<-r.Peer.(*Conn).Done()
	unsent := int(c.unsent.Load())
	for i, reply := range replies[calls-unsent:] {
		select {
		case got := <-reply:
			if !bytes.Equal(got, c.sent[uint64(calls-unsent+i+1)].Body) {
				t.Errorf("call %d: %d bytes", calls-unsent+i+1, len(got))
			}
		case <-time.After(patience):
			t.Fatalf("call %d was not done by another", calls-unsent+i+1)
		}
	}
	if arrived := len(block.kept); unsent == 0 || unsent+arrived > calls {
		t.Errorf("%d calls were unsent, %d had arrived", unsent, arrived)
	}
	for _, in := range block.kept {
		in.Release()
	}
}

// resender sends calls of which nothing was sent to another server.
type resender struct {
	caller
	service *Service
	sent    map[uint64]*Message
	unsent  atomic.Int32
}

func (c *resender) Closed(_ Peer, _ error, unsent []uint64) {
	for _, seq := range unsent {
		c.unsent.Add(1)
		r, err := c.service.Acquire(context.Background())
		if err != nil {
			return
		}
		c.mu.Lock()
		m := c.sent[seq]
		c.mu.Unlock()
		_ = r.Peer.Send(context.Background(), m)
		r.Release()
	}
}

// TestWithoutAnyServerTheErrorComesAtOnce is S1.32 and S1.34.
func TestWithoutAnyServerTheErrorComesAtOnce(t *testing.T) {
	var mu sync.Mutex
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	dials := 0
	c := newPoolCaller()
	p := newPool(t, c, func(o *PoolOptions) {
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
		o.Dial = func(context.Context, string, string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			dials++
			return nil, errors.New("refused")
		}
	})
	s := newService(t, p, Endpoint{ID: "a", TCP: "x:1"}, Endpoint{ID: "b", TCP: "x:2"}, Endpoint{ID: "c", TCP: "x:3"})
	want := func(n int) {
		t.Helper()
		start := time.Now()
		_, err := s.Acquire(t.Context())
		if !errors.Is(err, ErrNoServer) || time.Since(start) > time.Second {
			t.Errorf("error is %v after %v", err, time.Since(start))
		}
		if dials != n {
			t.Errorf("%d dials, want %d", dials, n)
		}
	}
	want(3) // each is tried once
	want(3) // and then left alone
	mu.Lock()
	now = now.Add(130 * time.Millisecond)
	mu.Unlock()
	want(6)
	want(6)
	if _, err := newService(t, p).Acquire(t.Context()); !errors.Is(err, ErrNoServer) {
		t.Errorf("of no servers: %v", err)
	}
	if _, err := s.AcquireID(t.Context(), "nobody"); !errors.Is(err, ErrNoServer) {
		t.Errorf("of an unknown server: %v", err)
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{First: 100 * time.Millisecond, Most: 10 * time.Second}
	for failures, want := range map[int]time.Duration{1: 100 * time.Millisecond, 3: 400 * time.Millisecond, 7: 6400 * time.Millisecond, 8: 10 * time.Second, 1000: 10 * time.Second} {
		if low, mid, high := b.pause(failures, 0), b.pause(failures, 0.5), b.pause(failures, 1); mid != want || low != want*8/10 || high != want*12/10 {
			t.Errorf("after %d failures %v, %v, %v, want about %v", failures, low, mid, high, want)
		}
	}
}

// TestTheListChangesUnderLoad replaces servers while calls go on: none fails.
func TestTheListChangesUnderLoad(t *testing.T) {
	var servers []*testServer
	for range 4 {
		servers = append(servers, startServer(t, &echo{spawn: true}, nil))
	}
	c := newPoolCaller()
	p := newPool(t, c, nil)
	s := newService(t, p, servers[0].endpoint("0"))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var calls atomic.Int64
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := echoOnce(t.Context(), s, c, "x"); err != nil && !errors.Is(err, ErrRemoved) {
					t.Error(err)
					return
				}
				calls.Add(1)
			}
		})
	}
	for i := range 200 {
		was := calls.Load()
		a, b := servers[i%4], servers[(i+1)%4]
		if err := s.Update([]Endpoint{a.endpoint(fmt.Sprint(i % 4)), b.endpoint(fmt.Sprint((i + 1) % 4))}); err != nil {
			t.Fatal(err)
		}
		for calls.Load() < was+20 && !t.Failed() {
			time.Sleep(50 * time.Microsecond)
		}
	}
	close(stop)
	wg.Wait()
	if n := len(p.frontends); n != 2 {
		t.Errorf("%d front ends are left", n)
	}
}

func TestAListWithAnIDTwiceIsRefused(t *testing.T) {
	p := newPool(t, newPoolCaller(), nil)
	s := newService(t, p, Endpoint{ID: "a", TCP: "x:1"})
	for _, id := range []string{"b", ""} {
		if err := s.Update([]Endpoint{{ID: "b", TCP: "x:1"}, {ID: id, TCP: "x:2"}}); err == nil {
			t.Errorf("id %q is taken", id)
		}
	}
	if list := s.FrontEnds(); len(list) != 1 || list[0].Endpoint().ID != "a" || len(p.frontends) != 1 {
		t.Errorf("the list is %v", list)
	}
}
