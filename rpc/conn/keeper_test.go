package conn

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

// TestIdleConnectionsAreReapedInTime is S4.12: within [T, 1.25 T] after the last
// reference, wherever between two ticks that was; never while there is one (S4.4,
// S4.13); a new connection is not idle since ever.
func TestIdleConnectionsAreReapedInTime(t *testing.T) {
	const idle = 8 * time.Second
	for _, before := range []time.Duration{0, 1500 * time.Millisecond, 3 * time.Second} {
		t.Run(before.String(), func(t *testing.T) {
			server := startServer(t, &echo{}, nil)
			c := newPoolCaller()
			clock := newBeats()
			s := newService(t, newPool(t, c, func(o *PoolOptions) { o.IdleTimeout, o.Ticker = idle, clock.ticker }), server.endpoint("a"))
			clock.advance(before + time.Hour)
			r, err := s.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conn := r.Peer.(*Conn)
			clock.advance(idle + 2*time.Second) // less than a silent peer gets
			if err := conn.Err(); err != nil {
				t.Fatalf("held, and ended: %v", err)
			}
			r.Release()
			clock.advance(idle - time.Millisecond)
			if !conn.Hold() {
				t.Fatal("reaped before its time")
			}
			conn.Release()
			clock.advance(idle / 4 * 5)
			if conn.Hold() {
				t.Fatal("not reaped in time")
			}
			<-conn.Done()
			if _, err := echoOnce(t.Context(), s, c, "again"); err != nil || server.accepted.Load() != 2 {
				t.Errorf("afterwards: %v, %d connections", err, server.accepted.Load())
			}
		})
	}
}

// TestTheReaperTakesNothingThatIsHeld is S4.6, with a reaper that never rests.
func TestTheReaperTakesNothingThatIsHeld(t *testing.T) {
	server := startServer(t, &echo{}, nil)
	c := newPoolCaller()
	clock := newBeats()
	p := newPool(t, c, func(o *PoolOptions) {
		o.IdleTimeout, o.Ticker = 8*time.Millisecond, clock.ticker
		o.Conn.Keepalive = Keepalive{Silence: 1e6 * time.Hour, Answer: time.Hour} // the clock runs faster than any answer
	})
	s := newService(t, p, server.endpoint("a"))
	stop := make(chan struct{})
	reaper := make(chan struct{})
	var turns atomic.Int64
	go func() {
		defer close(reaper)
		for {
			select {
			case <-stop:
				return
			default:
				clock.advance(100 * time.Millisecond)
				turns.Add(1)
			}
		}
	}()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := range 300 {
				if _, err := echoOnce(t.Context(), s, c, fmt.Sprint(i)); err != nil {
					t.Errorf("a call ends with %v", err)
					return
				}
				for was := turns.Load(); i%3 == 0 && turns.Load() < was+2; { // let it be idle, now and then
					runtime.Gosched()
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	<-reaper
	if n := server.accepted.Load(); n < 2 {
		t.Errorf("only %d connections were made: nothing was reaped", n)
	}
	if refs := s.FrontEnds()[0].refs.Load(); refs != 0 {
		t.Errorf("%d references are left", refs)
	}
}

// TestASilentPeerIsFoundDead is S4.2 and F11: with a call outstanding, a peer
// that answers nothing is dead within 20 s; with none outstanding it is not even
// asked.
func TestASilentPeerIsFoundDead(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	silent := make(chan net.Conn, 4)
	go func() { // shakes hands, and is silent
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = readHalf(nc, frame.TypeHello)
			ack := admitAll(&frame.Hello{MaxVersion: 1})
			ack.Limits = frame.Limits{MaxFrame: 1 << 18, MaxMessage: 1 << 20, Window: 1 << 20}
			_ = writeHalf(nc, frame.TypeHelloAck, ack.Append(nil))
			silent <- nc
		}
	}()
	c := newPoolCaller()
	clock := newBeats()
	p := newPool(t, c, func(o *PoolOptions) { o.Ticker, o.IdleTimeout = clock.ticker, -1 })
	s := newService(t, p, Endpoint{ID: "a", Node: "here", Unix: l.Addr().String()})
	clock.advance(time.Hour)
	r, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn := r.Peer.(*Conn)
	r.Release()
	clock.advance(time.Hour)
	if conn.Err() != nil || writesOf(conn) != 0 {
		t.Fatalf("idle: %v, %d writes", conn.Err(), writesOf(conn))
	}
	if r, err = s.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	clock.advance(15 * time.Second)
	if conn.Err() != nil || writesOf(conn) == 0 {
		t.Fatalf("after 15 s: %v, %d pings", conn.Err(), writesOf(conn))
	}
	clock.advance(5 * time.Second)
	<-conn.Done()
	if err := conn.Err(); !errors.Is(err, ErrSilentPeer) {
		t.Errorf("after 20 s: %v", err)
	}
	r.Release()
	if state, _ := s.FrontEnds()[0].State(); state != EPIPE {
		t.Errorf("state is %v", state)
	}
	(<-silent).Close()
}

func writesOf(c *Conn) uint64 {
	return c.snd.counted().batches
}

func TestAPeerThatAnswersPingsLives(t *testing.T) {
	server := startServer(t, &keeping{closed: make(chan error, 1)}, nil)
	clock := newBeats()
	s := newService(t, newPool(t, newPoolCaller(), func(o *PoolOptions) { o.Ticker = clock.ticker }), server.endpoint("a"))
	r, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	conn := r.Peer.(*Conn)
	for range 20 {
		clock.advance(clock.every * 8)
		if _, err := conn.Ping(t.Context()); err != nil { // so the answers to the keeper's are there
			t.Fatal(err)
		}
	}
	if conn.Err() != nil || conn.RTT() <= 0 {
		t.Errorf("%v, round trip %v", conn.Err(), conn.RTT())
	}
}

// A peer was not silent while this process stood still: it was not even asked.
func TestAPeerIsNotDeadBecauseThisProcessStoodStill(t *testing.T) {
	server := startServer(t, &keeping{closed: make(chan error, 1)}, nil)
	clock := newBeats()
	s := newService(t, newPool(t, newPoolCaller(), func(o *PoolOptions) { o.Ticker, o.IdleTimeout = clock.ticker, -1 }), server.endpoint("a"))
	clock.advance(time.Hour)
	r, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	conn := r.Peer.(*Conn)
	clock.now = clock.now.Add(time.Minute)
	clock.advance(0)
	clock.advance(0) // the first look is over
	if err := conn.Err(); err != nil {
		t.Fatalf("after a minute in which nobody looked: %v", err)
	}
	if clock.advance(9 * time.Second); writesOf(conn) != 0 {
		t.Error("it is asked before it has been silent")
	}
}

func TestIdleClientsAreSentAway(t *testing.T) {
	clock := newBeats()
	server := startServer(t, &echo{}, func(o *ServerOptions) { o.IdleTimeout, o.Ticker = 8*time.Second, clock.ticker })
	c := newPoolCaller()
	s := newService(t, newPool(t, c, nil), server.endpoint("a"))
	r, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn := r.Peer.(*Conn)
	for range 5 { // it calls, so it is not idle
		clock.advance(6 * time.Second)
		if _, err := c.call(t.Context(), conn, 1, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	r.Release()
	clock.advance(12 * time.Second)
	<-conn.Done()
	if _, err := echoOnce(t.Context(), s, c, "again"); err != nil {
		t.Error(err)
	}
}

// busyEcho is an echo for whose clients something may be under way.
type busyEcho struct {
	echo
	busy atomic.Bool
}

func (e *busyEcho) Occupied(Peer) bool { return e.busy.Load() }

func TestAClientForWhomSomethingIsUnderWayIsNotSentAway(t *testing.T) {
	clock := newBeats()
	h := &busyEcho{}
	server := startServer(t, h, func(o *ServerOptions) { o.IdleTimeout, o.Ticker = 8*time.Second, clock.ticker })
	c := newPoolCaller()
	s := newService(t, newPool(t, c, nil), server.endpoint("a"))
	if _, err := echoOnce(t.Context(), s, c, "x"); err != nil {
		t.Fatal(err)
	}
	h.busy.Store(true)
	clock.advance(time.Hour)
	if n := server.Counts().Reaped; n != 0 {
		t.Errorf("%d were sent away", n)
	}
	h.busy.Store(false)
	clock.advance(10 * time.Second)
	clock.advance(0) // the last look is over
	if n := server.Counts().Reaped; n != 1 {
		t.Errorf("%d were sent away when they were idle", n)
	}
}
