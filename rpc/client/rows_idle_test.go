package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/internal/faultproxy"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// never is when a peer is given up: the machine may stand still for longer than others are
// waited for.
const never = time.Hour

func TestS4_01_ManyEndpointsWithFewDescriptors(t *testing.T) {
	h := newHost(t, "a", hostOptions{net: conn.ServerOptions{Conn: conn.Options{Handshake: never}}})
	servers := 20_000
	if raced {
		servers = 2_000
	}
	out := runChild(t, "endpoints", h.addr, fmt.Sprint(servers)).wait()
	t.Log(out)
	var done, most int
	if _, err := fmt.Sscanf(out, "%d done, at most %d descriptors", &done, &most); err != nil || done != servers || most >= 1024 {
		t.Errorf("%q: %v", out, err)
	}
	if n := h.core.Counts(); n.Calls[session.OK][session.Executed] != uint64(servers) {
		t.Errorf("%+v", n)
	}
}

func callEndpoints(addr, servers string) error {
	limit := syscall.Rlimit{Cur: 1024, Max: 1024}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	n, err := strconv.Atoi(servers)
	if err != nil {
		return err
	}
	c, err := New(Options{
		Pool:    conn.PoolOptions{ConnectTimeout: never, Conn: conn.Options{Handshake: never}},
		Session: session.ClientOptions{FailoverAfter: never},
	})
	if err != nil {
		return err
	}
	endpoints := make([]conn.Endpoint, n)
	for i := range endpoints {
		endpoints[i] = conn.Endpoint{ID: fmt.Sprint(i), TCP: addr}
	}
	if err := c.Update(endpoints); err != nil {
		return err
	}
	var next, done, failed, most atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				u := Call{Method: "who", Server: fmt.Sprint(i)}
				if c.Do(context.Background(), &u); u.Outcome.Code == session.OK {
					done.Add(1)
				} else if failed.Add(1) <= 3 {
					fmt.Println(u.Outcome, u.Text)
				}
				if i%500 == 0 {
					fds, _ := os.ReadDir("/proc/self/fd")
					most.Store(max(most.Load(), int64(len(fds))))
				}
			}
		})
	}
	wg.Wait()
	fmt.Printf("%d done, at most %d descriptors\n", done.Load(), most.Load())
	return c.Close()
}

// Something on the way forgets a connection, with a call outstanding and while it is idle. Nothing
// but the keepalive finds it, and with its defaults within 20 s.
// TestAConnectionThatIsIdleMakesRoomForWhoWaits: all connections that there may be are in use when one more is
// wanted; it is made when the call of another has ended, and not when something has been given up.
func TestAConnectionThatIsIdleMakesRoomForWhoWaits(t *testing.T) {
	g := newGate()
	a, b := newHost(t, "a", hostOptions{methods: []server.Method{{Name: "wait", Run: g.run}}}), newHost(t, "b", hostOptions{})
	c := newClient(t, Options{
		Pool:    conn.PoolOptions{MaxConns: 1, IdleTimeout: never, ConnectTimeout: never},
		Session: session.ClientOptions{FailoverAfter: never},
	}, a.endpoint(), b.endpoint())
	ends := make(chan *Call, 1)
	c.Start(soon(t), &Call{Method: "wait", Server: "a"}, func(*Call) {})
	<-g.entered
	c.Start(soon(t), &Call{Method: "do", Server: "b"}, func(u *Call) { ends <- u })
	for c.Counts().Sockets.Dials < 2 {
		time.Sleep(time.Millisecond)
	}
	close(g.open)
	if u := <-ends; u.Outcome.Code != session.OK {
		t.Errorf("%+v: %s", u.Outcome, u.Text)
	}
}

func TestS4_02_AForgottenConnectionIsNoticed(t *testing.T) {
	g := newGate()
	h := newHost(t, "a", hostOptions{core: server.Options{NoticeAt: time.Hour}, methods: []server.Method{{Name: "wait", Run: g.run}}})
	proxy, e := h.behind()
	clock := newBeats()
	o := quick()
	o.Pool.Ticker = clock.ticker
	c := newClient(t, o, e)
	forgotten := func(method, args string) {
		t.Helper()
		ended := make(chan *Call, 1)
		found := c.Counts().Sockets.Silent
		c.Start(soon(t), &Call{Method: method, Args: []byte(args)}, func(u *Call) { ended <- u })
		if method == "wait" {
			<-g.entered
			ask(soon(t), c, "who", "").is(t, session.OK, session.Executed) // nothing is on its way to the client
			proxy.Lose()
			close(g.open) // the reply is lost
			eventually(t, "it has run", func() bool { return h.core.Counts().Running == 0 })
		}
		taken := proxy.Taken()
		clock.advance(10 * time.Second)
		if n := c.Counts().Sockets.Silent; n != found || len(ended) != 0 {
			t.Fatalf("%s: it is over before a ping was sent", method)
		}
		clock.advance(10 * time.Second)
		if n := c.Counts().Sockets.Silent; n != found+1 {
			t.Fatalf("%s: the connection is not found dead within 20 s", method)
		}
		(<-ended).is(t, session.OK, session.Executed)
		if n := proxy.Taken(); n != taken+1 {
			t.Errorf("%s: %d connections more", method, n-taken)
		}
	}
	forgotten("wait", "outstanding")
	ask(soon(t), c, "do", "next").is(t, session.OK, session.Executed)
	proxy.Lose()
	ctx, cancel := context.WithTimeout(soon(t), 50*time.Millisecond)
	defer cancel()
	ask(ctx, c, "do", "late").is(t, session.DeadlineExceeded, session.Indeterminate)
	forgotten("do", "idle")
	for _, name := range []string{"next", "idle"} {
		if n := h.count(name); n != 1 {
			t.Errorf("%q ran %d times", name, n)
		}
	}
}

// A call and a stream last longer than a connection may be idle, at both ends: neither is cut.
func TestS4_04_NothingIsCutInTheMiddle(t *testing.T) {
	const idle = 100 * time.Millisecond
	g := newGate()
	up, down := make(chan string), make(chan string)
	its, mine := newBeats(), newBeats()
	h := newHost(t, "a", hostOptions{
		net: conn.ServerOptions{IdleTimeout: idle, Ticker: its.ticker},
		methods: []server.Method{{Name: "wait", Run: g.run}, {Name: "stream", Stream: true, Run: func(j *server.Job) (session.Code, []byte) {
			for item := range down {
				if err := j.Stream().Send(j, []byte(item)); err != nil {
					return session.Failed, []byte(err.Error())
				}
				b, err := j.Stream().Recv(j)
				if err != nil {
					return session.Failed, []byte(err.Error())
				}
				up <- string(b)
			}
			return session.OK, nil
		}}},
	})
	proxy, e := h.behind()
	o := quick()
	o.Pool.IdleTimeout, o.Pool.Ticker = idle, mine.ticker
	o.Pool.Conn.Keepalive = conn.Keepalive{Silence: time.Hour, Answer: time.Hour} // no ping is heard in place of a call
	c := newClient(t, o, e)
	pass := func(d time.Duration) {
		t.Helper()
		mine.advance(d)
		its.advance(d)
		if at, there := c.Counts().Sockets.Reaped, h.net.Counts().Reaped; at+there != 0 {
			t.Fatalf("the client has reaped %d connections, the server %d", at, there)
		}
	}
	called := make(chan *Call)
	go func() { called <- ask(soon(t), c, "wait", "x") }()
	<-g.entered
	pass(10 * time.Second)
	close(g.open)
	(<-called).is(t, session.OK, session.Executed)

	ctx := soon(t)
	s := c.Stream(ctx, &Call{Method: "stream"})
	for range 3 {
		select {
		case down <- "down":
		case <-ctx.Done():
			t.Fatal("the stream does not start")
		}
		if b, err := s.Recv(ctx); err != nil || string(b) != "down" {
			t.Fatalf("%q, %v", b, err)
		}
		pass(time.Second) // nothing is said in either direction
		if err := s.Send(ctx, []byte("up")); err != nil {
			t.Fatal(err)
		}
		if got := <-up; got != "up" {
			t.Fatal(got)
		}
		pass(time.Second)
	}
	close(down)
	s.Result().is(t, session.OK, session.Executed)
	if n := proxy.Taken(); n != 1 {
		t.Errorf("%d connections", n)
	}
	mine.advance(time.Second)
	eventually(t, "it is reaped when it is idle", func() bool { return c.Counts().Conns == 0 })
	if n := c.Counts().Sockets.Reaped; n != 1 {
		t.Errorf("%d are reaped", n)
	}
}

func TestS4_05_NoReferenceIsLeftAfterFaultyCalls(t *testing.T) {
	a, b := newHost(t, "a", hostOptions{}), newHost(t, "b", hostOptions{})
	pa, ea := a.behind()
	pb, eb := b.behind()
	o := quick()
	o.Grace = time.Millisecond
	o.Pool.IdleTimeout = 50 * time.Millisecond
	c := newClient(t, o, ea, eb)
	stop := make(chan struct{})
	var chaos, calls sync.WaitGroup
	chaos.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			p := []*faultproxy.Proxy{pa, pb}[i%2]
			switch i % 5 {
			case 0, 1:
				p.Reset()
			case 2:
				p.CutAfter(faultproxy.ToServer, int64(i%700))
				p.Cut()
			case 3:
				p.CutAfter(faultproxy.ToServer, -1)
				p.Cut()
			case 4:
				p.Refuse(i%2 == 0)
			}
		}
	})
	var ended atomic.Int64
	for w := range 16 {
		calls.Go(func() {
			for i := range 300 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+(i*7+w)%20)*time.Millisecond)
				u := Call{Method: []string{"do", "do!", "none"}[i%3], Args: make([]byte, i%2*10_000), Idempotent: i%4 == 0}
				c.Do(ctx, &u)
				cancel()
				ended.Add(1)
			}
		})
	}
	calls.Wait()
	close(stop)
	chaos.Wait()
	for _, p := range []*faultproxy.Proxy{pa, pb} {
		p.CutAfter(faultproxy.ToServer, -1)
		p.Refuse(false)
	}
	if n := c.Counts(); n.Open != 0 {
		t.Errorf("%d calls are open", n.Open)
	}
	eventually(t, "all connections are reaped", func() bool { return c.Counts().Conns == 0 })
	for _, id := range []string{"a", "b"} {
		eventually(t, "it serves again", func() bool {
			u := Call{Method: "who", Server: id}
			c.Do(soon(t), &u)
			return u.Outcome.Code == session.OK
		})
	}
	eventually(t, "and is reaped again", func() bool { return c.Counts().Conns == 0 })
}

func TestS4_06_TheReaperRacesWithCalls(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	proxy, e := h.behind()
	o := quick()
	o.Pool.IdleTimeout = 4 * time.Millisecond
	c := newClient(t, o, e)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 600 {
				name := fmt.Sprintf("%d %d", w, i)
				ask(soon(t), c, "do", name).is(t, session.OK, session.Executed)
				if n := h.count(name); n != 1 {
					t.Errorf("%q ran %d times", name, n)
				}
				time.Sleep(time.Duration(3+rand.IntN(4)) * time.Millisecond)
			}
		})
	}
	wg.Wait()
	n := c.Counts()
	if n.Lost != 0 {
		t.Errorf("%d calls are lost", n.Lost)
	}
	if n.Resends != 0 {
		t.Errorf("%d calls were sent by a connection that was being closed, and again by another", n.Resends)
	}
	if proxy.Taken() < 10 {
		t.Errorf("%d connections: the reaper had nothing to do", proxy.Taken())
	}
	t.Logf("%d connections for 2400 calls", proxy.Taken())
}

func TestS4_11_ConnectionsThatTheServerClosesAreGone(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	proxy, e := h.behind()
	c := newClient(t, quick(), e)
	for range 20 {
		ask(soon(t), c, "do", "x").is(t, session.OK, session.Executed)
		proxy.Cut()
		eventually(t, "it is gone", func() bool { return c.Counts().Conns == 0 })
	}
	if n := proxy.Taken(); n != 20 {
		t.Errorf("%d connections", n)
	}
	var all []conn.Endpoint
	for i := range 150 {
		all = append(all, conn.Endpoint{ID: fmt.Sprint(i), TCP: e.TCP})
	}
	if err := c.Update(all); err != nil {
		t.Fatal(err)
	}
	for round := range 2 { // what is gone is made anew, and by nobody else's call
		for _, e := range all {
			u := Call{Method: "do", Server: e.ID}
			c.Do(soon(t), &u)
			u.is(t, session.OK, session.Executed)
		}
		if n := proxy.Taken() - 20; n != len(all)*(round+1) || c.Counts().Conns != len(all) {
			t.Errorf("round %d: %d connections, %d are there", round, n, c.Counts().Conns)
		}
		proxy.Cut()
		eventually(t, "all are gone", func() bool { return c.Counts().Conns == 0 })
	}
}

// A hundred callers on threads of their own, and one that reports the status now and then: none
// waits for the main one, whose call does not end.
func TestS4_14_CallersOnThreadsOfTheirOwn(t *testing.T) {
	g := newGate()
	h := newHost(t, "a", hostOptions{methods: []server.Method{{Name: "wait", Run: g.run}}})
	proxy, e := h.behind()
	c := newClient(t, quick(), e)
	locked := func(f func()) func() {
		return func() {
			runtime.LockOSThread()
			f()
		}
	}
	blocked := make(chan *Call, 1)
	go locked(func() { blocked <- ask(soon(t), c, "wait", "for ever") })()
	<-g.entered
	stop := make(chan struct{})
	var callers, reporter sync.WaitGroup
	reports := 0
	reporter.Go(locked(func() {
		every := time.NewTicker(time.Millisecond)
		defer every.Stop()
		for {
			u := ask(soon(t), c, "do", "report")
			if u.is(t, session.OK, session.Executed); u.Outcome.Code != session.OK {
				return
			}
			reports++
			select {
			case <-stop:
				return
			case <-every.C:
			}
		}
	}))
	for range 100 {
		callers.Go(locked(func() {
			for range 10 {
				ask(soon(t), c, "do", "x").is(t, session.OK, session.Executed)
			}
		}))
	}
	callers.Wait()
	close(stop)
	reporter.Wait()
	if n := h.count("x"); n != 1000 {
		t.Errorf("the callers have made %d calls", n)
	}
	if n := h.count("report"); reports == 0 || n != reports {
		t.Errorf("the reporter has made %d calls, %d have run", reports, n)
	}
	select {
	case u := <-blocked:
		t.Errorf("the main caller's call has ended: %v", u.Outcome)
	default:
	}
	close(g.open)
	(<-blocked).is(t, session.OK, session.Executed)
	if n := proxy.Taken(); n != 1 {
		t.Errorf("they had %d connections, so they could not hold each other up", n)
	}
}

func TestS4_15_ShortGoroutinesLeaveNothing(t *testing.T) {
	bursts := 1000
	if raced {
		bursts = 100
	}
	h := newHost(t, "a", hostOptions{})
	proxy, e := h.behind()
	c := newClient(t, quick(), e)
	burst := func() {
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { ask(t.Context(), c, "who", "").is(t, session.OK, session.Executed) })
		}
		wg.Wait()
	}
	for range 20 {
		burst() // what is kept for all that follow is there now
	}
	left := func() (objects, goroutines int) {
		runtime.GC()
		runtime.GC() // what pools keep goes at the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapObjects), runtime.NumGoroutine()
	}
	before, _ := left()
	for range bursts {
		burst()
	}
	var objects, goroutines int
	eventually(t, "next to nothing is left of so many", func() bool {
		objects, goroutines = left()
		return objects-before < 10*bursts && goroutines < 300 // the server keeps some for the next calls
	})
	t.Logf("%d goroutines have left %d objects, %d goroutines run", 100*bursts, objects-before, goroutines)
	if n := c.Counts(); n.Open != 0 || proxy.Taken() != 1 {
		t.Errorf("%d calls are open, there were %d connections", n.Open, proxy.Taken())
	}
}

func TestS4_16_TheIdleTimeoutOfTheEnvironment(t *testing.T) {
	for _, c := range []struct {
		name string
		env  map[string]string
		want time.Duration
		bad  bool
	}{
		{"nothing is said", nil, 30 * time.Second, false},
		{"seconds", map[string]string{"RPC_IDLE_TIMEOUT": "45"}, 45 * time.Second, false},
		{"a fraction", map[string]string{"XOSCAR_IDLE_TIMEOUT": "0.5"}, 500 * time.Millisecond, false},
		{"a duration", map[string]string{"RPC_IDLE_TIMEOUT": "1m30s"}, 90 * time.Second, false},
		{"both", map[string]string{"RPC_IDLE_TIMEOUT": "1", "XOSCAR_IDLE_TIMEOUT": "2"}, time.Second, false},
		{"never", map[string]string{"XOSCAR_IDLE_TIMEOUT": "0"}, -1, false},
		{"empty", map[string]string{"RPC_IDLE_TIMEOUT": ""}, 30 * time.Second, false},
		{"negative", map[string]string{"RPC_IDLE_TIMEOUT": "-1"}, 0, true},
		{"a word", map[string]string{"RPC_IDLE_TIMEOUT": "soon"}, 0, true},
		{"more than there is", map[string]string{"RPC_IDLE_TIMEOUT": "1e30"}, 0, true},
	} {
		got, err := IdleTimeoutFromEnv(func(name string) (string, bool) {
			v, ok := c.env[name]
			return v, ok
		})
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}
