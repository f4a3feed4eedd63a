package conn

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

// beats is a clock of a keeper that tests move. It starts anywhere.
type beats struct {
	ticks chan time.Time
	every time.Duration
	now   time.Time
}

func newBeats() *beats {
	return &beats{ticks: make(chan time.Time), now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func (b *beats) ticker(every time.Duration) (<-chan time.Time, func()) {
	b.every = every
	return b.ticks, func() {}
}

// advance lets the keeper tick, and look, for a time.
func (b *beats) advance(d time.Duration) {
	for end := b.now.Add(d); b.now.Add(b.every).Compare(end) <= 0; {
		b.now = b.now.Add(b.every)
		b.ticks <- b.now
	}
	b.ticks <- b.now // returns when the keeper has looked
}

// testServer is a server over a Unix socket.
type testServer struct {
	*Server
	path     string
	accepted atomic.Int32
}

// counting counts what it accepts.
type counting struct {
	net.Listener
	n *atomic.Int32
}

func (l counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

func startServer(t testing.TB, h Handler, change func(*ServerOptions)) *testServer {
	t.Helper()
	opts := ServerOptions{Handler: h, Admit: admitAll}
	if change != nil {
		change(&opts)
	}
	s, err := NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	ts := &testServer{Server: s, path: filepath.Join(t.TempDir(), "s")}
	l, err := net.Listen("unix", ts.path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(counting{l, &ts.accepted}) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
	return ts
}

func (s *testServer) endpoint(id string) Endpoint {
	return Endpoint{ID: id, Node: "here", Unix: s.path}
}

func newPool(t testing.TB, h Handler, change func(*PoolOptions)) *Pool {
	t.Helper()
	opts := PoolOptions{Handler: h, Node: "here"}
	if change != nil {
		change(&opts)
	}
	p, err := NewPool(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func newService(t testing.TB, p *Pool, endpoints ...Endpoint) *Service {
	t.Helper()
	s := p.Service("echo")
	if err := s.Update(endpoints); err != nil {
		t.Fatal(err)
	}
	return s
}

// echoOnce makes one call to any server of a service.
func echoOnce(ctx context.Context, s *Service, c *poolCaller, body string) (from string, err error) {
	r, err := s.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer r.Release()
	got, err := c.call(ctx, r.Peer, frame.PriorityNormal, []byte(body))
	if err == nil && string(got) != body {
		err = fmt.Errorf("got %q, want %q", got, body)
	}
	return r.From.Endpoint().ID, err
}

// poolCaller matches replies of many connections.
type poolCaller struct {
	caller
	lost atomic.Int32
}

func newPoolCaller() *poolCaller {
	return &poolCaller{caller: caller{waiting: map[uint64]chan []byte{}}}
}

func (c *poolCaller) Closed(_ Peer, _ error, _ []uint64) { c.lost.Add(1) }

// TestAConnectionIsMadeOnceWhenItIsNeeded is S1.8.
func TestAConnectionIsMadeOnceWhenItIsNeeded(t *testing.T) {
	server := startServer(t, &echo{}, nil)
	c := newPoolCaller()
	s := newService(t, newPool(t, c, nil), server.endpoint("a"))
	if state, _ := s.FrontEnds()[0].State(); state != Disconnected || server.accepted.Load() != 0 {
		t.Fatalf("without a call, state is %v, %d connections", state, server.accepted.Load())
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if _, err := echoOnce(t.Context(), s, c, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	state, route := s.FrontEnds()[0].State()
	if n := server.accepted.Load(); n != 1 || state != Connected || route.Transport != TransportUnix {
		t.Errorf("%d connections, %v by %+v", n, state, route)
	}
}

// TestASlowDialDelaysNobodyElse is the other half of S1.8.
func TestASlowDialDelaysNobodyElse(t *testing.T) {
	server := startServer(t, &echo{}, nil)
	c := newPoolCaller()
	p := newPool(t, c, func(o *PoolOptions) {
		o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == "black:1" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	})
	hole := newService(t, p, Endpoint{ID: "hole", TCP: "black:1"})
	ctx, cancel := context.WithCancel(t.Context())
	stuck := make(chan error)
	go func() {
		_, err := hole.Acquire(ctx)
		stuck <- err
	}()
	if _, err := echoOnce(t.Context(), newService(t, p, server.endpoint("a")), c, "x"); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-stuck; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting ends with %v", err)
	}
}

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
	c.snd.mu.Lock()
	defer c.snd.mu.Unlock()
	return c.snd.writes
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

// TestFailover is S1.31 and F10, as far as connections go: one server of three
// ends with calls queued; those of which nothing was sent are done by another.
func TestFailover(t *testing.T) {
	block := &keeping{closed: make(chan error, 16)} // takes calls, answers none
	servers := []*testServer{startServer(t, &echo{}, nil), startServer(t, &echo{}, nil), startServer(t, block, nil)}
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

// TestManyEndpointsNeedFewConnections is S4.1, smaller: idle connections make
// room for new ones, and who finds none waits.
func TestManyEndpointsNeedFewConnections(t *testing.T) {
	server := startServer(t, &echo{spawn: true}, nil)
	c := newPoolCaller()
	p := newPool(t, c, func(o *PoolOptions) { o.MaxConns = 10 })
	var services []*Service
	for i := range 300 {
		services = append(services, newService(t, p, server.endpoint(fmt.Sprint(i))))
	}
	var most atomic.Int64
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			for i := w; i < len(services); i += 20 {
				if _, err := echoOnce(t.Context(), services[i], c, "x"); err != nil {
					t.Error(err)
				}
				most.Store(max(most.Load(), int64(len(p.slots))))
			}
		})
	}
	wg.Wait()
	if most.Load() > 10 || server.accepted.Load() < 300 {
		t.Errorf("%d connections at the same time, %d in all", most.Load(), server.accepted.Load())
	}
}

// TestInTheSameProcessNothingIsCopied is S1.10.
func TestInTheSameProcessNothingIsCopied(t *testing.T) {
	h := &keeping{closed: make(chan error, 1)}
	server := startServer(t, h, nil)
	s := newService(t, newPool(t, newPoolCaller(), nil), Endpoint{ID: "a", Local: server.Server})
	r, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 64<<20)
	released := 0
	m := &Message{Header: frame.Header{Type: frame.TypeCall, Priority: 1, Seq: 1}, Body: body, Owner: counted{&released}}
	if err := r.Peer.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if len(h.kept) != 1 || &h.kept[0].Body[0] != &body[0] || released != 0 {
		t.Error("the body was copied, or let go of too early")
	}
	h.kept[0].Release()
	if state, route := r.From.State(); released != 1 || state != Connected || route.Transport != TransportDirect {
		t.Errorf("released %d times, %v by %v", released, state, route)
	}
	if err := s.Update(nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Peer.Send(t.Context(), &Message{Header: m.Header}); err != nil {
		t.Errorf("what is outstanding does not go on: %v", err)
	}
	h.kept[1].Release()
	r.Release()
	if err := <-h.closed; !errors.Is(err, ErrPeerClosed) {
		t.Errorf("closed with %v", err)
	}
	if err := r.Peer.TrySend(m); !errors.Is(err, ErrClosed) {
		t.Errorf("error is %v", err)
	}
}

func TestRoutes(t *testing.T) {
	secure := &tls.Config{MinVersion: tls.VersionTLS13}
	for _, c := range []struct {
		name string
		e    Endpoint
		want []Transport
	}{
		{"same process", Endpoint{Local: &Server{}, Unix: "/s", Node: "here", TCP: "h:1"}, []Transport{TransportDirect}},
		{"same node", Endpoint{Unix: "/s", Node: "here", TCP: "h:1"}, []Transport{TransportUnix, TransportTCP}},
		{"same node, TLS is for TCP", Endpoint{Unix: "/s", Node: "here", TCP: "h:1", TLS: secure}, []Transport{TransportUnix, TransportTLS}},
		{"another node", Endpoint{Unix: "/s", Node: "there", TCP: "h:1", TLS: secure}, []Transport{TransportTLS}},
		{"a node that is not known", Endpoint{Unix: "/s", TCP: "h:1"}, []Transport{TransportTCP}},
		{"another node without TCP", Endpoint{Unix: "/s", Node: "there"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Routes("here", &c.e)
			if len(got) != len(c.want) {
				t.Fatalf("got %+v, want %v", got, c.want)
			}
			for i, r := range got {
				if r.Transport != c.want[i] || r.Reason == "" || r.Transport.String() == "" {
					t.Errorf("got %+v, want %v", r, c.want[i])
				}
			}
		})
	}
}

// TestTheSocketIsTriedBeforeTCP falls back when the path is not there, and speaks
// TLS.
func TestTheSocketIsTriedBeforeTCP(t *testing.T) {
	server := startServer(t, &echo{}, nil)
	serverTLS, clientTLS := certificates(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	c := newPoolCaller()
	p := newPool(t, c, nil)
	e := Endpoint{ID: "a", Node: "here", Unix: server.path + "-not-there", TCP: l.Addr().String(), TLS: clientTLS}
	s := newService(t, p, e)
	for _, size := range []int{5, 1 << 20} {
		if _, err := echoOnce(t.Context(), s, c, string(make([]byte, size))); err != nil {
			t.Fatal(err)
		}
	}
	if _, route := s.FrontEnds()[0].State(); route.Transport != TransportTLS {
		t.Errorf("by %+v", route)
	}
	_ = p.Close()
	_ = server.Close()
	<-served
}

func certificates(t *testing.T) (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "127.0.0.1"}
}

// TestAServerThatStopsLosesNothing sends its clients away while they call.
func TestAServerThatStopsLosesNothing(t *testing.T) {
	first, second := startServer(t, &echo{spawn: true}, func(o *ServerOptions) { o.Grace = patience }), startServer(t, &echo{spawn: true}, nil)
	c := newPoolCaller()
	p := newPool(t, c, nil)
	s := newService(t, p, first.endpoint("a"))
	if _, err := echoOnce(t.Context(), s, c, "x"); err != nil {
		t.Fatal(err)
	}
	if err := s.Update([]Endpoint{first.endpoint("a"), second.endpoint("b")}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				_, err := echoOnce(ctx, s, c, "x")
				cancel()
				if err != nil && !errors.Is(err, ErrNoServer) {
					t.Error(err)
					return
				}
			}
		})
	}
	if err := s.Update([]Endpoint{second.endpoint("b")}); err != nil {
		t.Fatal(err)
	}
	if err := first.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	close(stop)
	wg.Wait()
	if n := first.Conns(); n != 0 {
		t.Errorf("%d clients are left", n)
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

func TestTooManyConnectionsAreRefused(t *testing.T) {
	server := startServer(t, &echo{}, func(o *ServerOptions) { o.MaxConns = 1 })
	c := newPoolCaller()
	p := newPool(t, c, nil)
	if _, err := echoOnce(t.Context(), newService(t, p, server.endpoint("a")), c, "x"); err != nil {
		t.Fatal(err)
	}
	_, err := echoOnce(t.Context(), newService(t, p, server.endpoint("b")), c, "x")
	if !errors.Is(err, ErrNoServer) || !errors.Is(err, &frame.Error{Reason: frame.ReasonOverload}) {
		t.Errorf("error is %v", err)
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	for name, o := range map[string]Options{
		"frame of 1 byte":           {MaxFrame: 1},
		"message below a frame":     {MaxMessage: 5000},
		"no room for a message":     {MaxMessage: 1 << 20, MaxAssembly: 1 << 19},
		"window below an allowance": {Window: 1000},
		"window that shrinks":       {Window: 1 << 20, MaxWindow: 1 << 19},
		"negative time":             {Write: -1},
	} {
		if _, err := NewPool(PoolOptions{Handler: &echo{}, Conn: o}); err == nil {
			t.Errorf("%s is taken by a pool", name)
		}
		if _, err := NewServer(ServerOptions{Handler: &echo{}, Admit: admitAll, Conn: o}); err == nil {
			t.Errorf("%s is taken by a server", name)
		}
	}
	if _, err := NewPool(PoolOptions{}); err == nil {
		t.Error("a pool without a handler")
	}
	if _, err := NewServer(ServerOptions{}); err == nil {
		t.Error("a server without a handler")
	}
}
