package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/internal/faultproxy"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// The list changes: its old connections are closed when what is outstanding there has ended,
// and a moment later the calls hear of it. A call in between has no part in what is
// outstanding: it must not be sent by a connection that does not wait for its answer.
func TestACallIsNotSentByAConnectionThatIsBeingClosed(t *testing.T) {
	release := map[string]chan struct{}{"first": make(chan struct{}), "second": make(chan struct{})}
	var ran sync.Map
	a := newHost(t, "a", hostOptions{methods: []server.Method{{Name: "wait", Run: func(j *server.Job) (session.Code, []byte) {
		ran.Store(string(j.Args), true)
		<-release[string(j.Args)]
		return session.OK, nil
	}}}})
	defer close(release["second"])
	b := newHost(t, "b", hostOptions{})
	c := newClient(t, quick(), a.endpoint(), b.endpoint())
	start := func(args string) chan Call {
		ended := make(chan Call, 1)
		ctx := soon(t)
		go func() {
			u := Call{Method: "wait", Args: []byte(args), Server: "a"}
			c.Do(ctx, &u)
			ended <- u
		}()
		return ended
	}
	first := start("first")
	eventually(t, "the first call runs", func() bool { _, is := ran.Load("first"); return is })
	if err := c.service.Update([]conn.Endpoint{b.endpoint()}); err != nil { // what Client.Update does first
		t.Fatal(err)
	}
	second := start("second")
	eventually(t, "the second call is at the server", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.peers["a"].open == 2
	})
	if err := c.Update([]conn.Endpoint{b.endpoint()}); err != nil {
		t.Fatal(err)
	}
	close(release["first"])
	if u := <-first; u.Outcome.Code != session.OK {
		t.Errorf("the first call: %+v: %s", u.Outcome, u.Text)
	}
	if u := <-second; u.Outcome.Code != session.NoServer || u.Outcome.Execution != session.NotExecuted {
		t.Errorf("the second call: %+v: %s", u.Outcome, u.Text)
	}
	if _, is := ran.Load("second"); is {
		t.Error("the second call ran")
	}
}

func TestS1_08_ConnectionsAreMadeWhenSomethingIsSent(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	proxy, e := h.behind()
	hole := behind(t, func() string { return h.addr })
	hole.Freeze()
	c := newClient(t, quick(), e, conn.Endpoint{ID: "hole", TCP: hole.Addr()})
	if n := c.Counts(); n.Conns != 0 || proxy.Taken() != 0 {
		t.Fatalf("without a call there are %d connections", proxy.Taken())
	}
	stuck, cancel := context.WithCancel(soon(t))
	lost := make(chan *Call)
	go func() {
		u := &Call{Method: "do", Server: "hole"}
		c.Do(stuck, u)
		lost <- u
	}()
	eventually(t, "the hole is dialled", func() bool { return hole.Taken() == 1 })
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			u := &Call{Method: "do", Args: fmt.Append(nil, i), Server: "a"}
			c.Do(soon(t), u)
			u.is(t, session.OK, session.Executed)
		})
	}
	wg.Wait()
	if n := proxy.Taken(); n != 1 {
		t.Errorf("100 first calls made %d connections", n)
	}
	cancel()
	(<-lost).is(t, session.Canceled, session.NotExecuted)
}

func TestS1_09_AConnectionIsCutAtEveryByte(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	three := func(run string, proxy *faultproxy.Proxy) {
		c := newClient(t, quick(), conn.Endpoint{ID: "a", TCP: proxy.Addr()})
		defer c.Close()
		for _, name := range names(run+" ", 3) {
			u := &Call{Method: []string{"do", "do!"}[len(run)%2], Args: []byte(name)}
			for c.Do(soon(t), u); u.Outcome.Code == session.NoServer; c.Do(soon(t), u) {
				u.is(t, session.NoServer, session.NotExecuted)
				time.Sleep(time.Millisecond)
			}
			u.is(t, session.OK, session.Executed)
			if n := h.count(name); n != 1 {
				t.Errorf("%q ran %d times", name, n)
			}
		}
	}
	var wg sync.WaitGroup
	lanes := make(chan struct{}, 32)
	for _, d := range []faultproxy.Direction{faultproxy.ToServer, faultproxy.ToClient} {
		whole, _ := h.behind()
		three(fmt.Sprint("whole ", d), whole)
		n := whole.Passed(d)
		for after := int64(1); after <= n; after++ {
			lanes <- struct{}{}
			wg.Go(func() {
				proxy, _ := h.behind()
				proxy.CutAfter(d, after)
				proxy.CutNext(1)
				three(fmt.Sprint(d, after), proxy)
				_ = proxy.Close()
				<-lanes
			})
		}
		t.Logf("cut after each of %d bytes in direction %d", n, d)
	}
	wg.Wait()
}

func TestS1_12_ACallGoesToTheServerThatIsNamed(t *testing.T) {
	a, b := newHost(t, "a", hostOptions{}), newHost(t, "b", hostOptions{})
	c := newClient(t, quick(), a.endpoint(), b.endpoint())
	for range 20 {
		for _, id := range []string{"a", "b"} {
			u := &Call{Method: "who", Server: id}
			c.Do(soon(t), u)
			if u.is(t, session.OK, session.Executed); string(u.Reply) != id {
				t.Errorf("%s was answered by %s", id, u.Reply)
			}
		}
	}
	u := &Call{Method: "who", Server: "c"}
	c.Do(soon(t), u)
	u.is(t, session.NoServer, session.NotExecuted)
	if !strings.Contains(u.Text, `"c"`) {
		t.Errorf("text is %q", u.Text)
	}
}

// TestC8_TheNearestServerIsTaken, however many others there are; and of those that are equally near one that has
// fewer calls of ours.
func TestC8_TheNearestServerIsTaken(t *testing.T) {
	far, near := newHost(t, "far", hostOptions{}), newHost(t, "near", hostOptions{})
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		_ = near.net.Serve(l)
		close(served)
	}()
	defer func() {
		near.stop()
		<-served
	}()
	for name, e := range map[string]conn.Endpoint{
		"in this process": {ID: "near", Local: near.net, TCP: near.addr},
		"on this node":    {ID: "near", Node: "here", Unix: socket, TCP: near.addr},
	} {
		for _, others := range []int{1, 7, 8, 40} {
			t.Run(fmt.Sprintf("%s, beside %d others", name, others), func(t *testing.T) {
				list := []conn.Endpoint{}
				for i := range others {
					list = append(list, conn.Endpoint{ID: fmt.Sprint("far ", i), Node: "there", Unix: socket, TCP: far.addr})
				}
				o := quick()
				o.Pool.Node = "here"
				c := newClient(t, o, slices.Insert(slices.Clone(list), others/2, e)...)
				for range 100 {
					if u := ask(soon(t), c, "who", ""); string(u.Reply) != "near" {
						t.Fatalf("a call went to %q: %v", u.Reply, u.Outcome)
					}
				}
				if err := c.Update(list); err != nil {
					t.Fatal(err)
				}
				if u := ask(soon(t), c, "who", ""); string(u.Reply) != "far" {
					t.Errorf("without it a call went to %q: %v", u.Reply, u.Outcome)
				}
			})
		}
	}
}

func TestC8_CallsGoWhereFewerAre(t *testing.T) {
	g := newGate()
	var list []conn.Endpoint
	for _, id := range []string{"a", "b", "c"} {
		list = append(list, newHost(t, id, hostOptions{methods: []server.Method{{Name: "wait", Run: g.run}}}).endpoint())
	}
	c := newClient(t, quick(), list...)
	const calls = 30
	ends := make(chan *Call, calls)
	for range calls { // none ends
		c.Start(soon(t), &Call{Method: "wait"}, func(u *Call) { ends <- u })
	}
	for range calls {
		<-g.entered
	}
	close(g.open)
	where := map[string]int{}
	for range calls {
		where[(<-ends).At]++
	}
	for id, n := range where {
		if n != calls/len(list) {
			t.Errorf("%d calls were at %s", n, id)
		}
	}
}

func TestS1_17_AClientThatIsNotAdmittedHearsWhy(t *testing.T) {
	h := newHost(t, "a", hostOptions{admit: func(*frame.Hello) frame.HelloAck {
		return frame.HelloAck{Version: frame.MaxVersion, Reason: frame.ReasonOverload, Text: []byte("who are you")}
	}})
	c := newClient(t, quick(), h.endpoint())
	u := ask(soon(t), c, "do", "x")
	u.is(t, session.NoServer, session.NotExecuted)
	if !strings.Contains(u.Text, "who are you") {
		t.Errorf("text is %q", u.Text)
	}
}

// A client that does not read: results wait at the server, as many as calls are open.
func TestS1_20_ASlowConsumerIsBounded(t *testing.T) {
	const open = 32
	var runs atomic.Int64
	h := newHost(t, "a", hostOptions{
		core: server.Options{Domain: session.DomainOptions{Open: open}},
		admit: func(hello *frame.Hello) frame.HelloAck {
			return frame.Answer(hello, frame.HelloAck{Codecs: 7, MaxOpen: open})
		},
		methods: []server.Method{{Name: "big", Run: func(*server.Job) (session.Code, []byte) {
			runs.Add(1)
			return session.OK, make([]byte, 256<<10)
		}}},
	})
	proxy, e := h.behind()
	o := quick()
	o.Grace = time.Millisecond
	c := newClient(t, o, e)
	ask(soon(t), c, "who", "").is(t, session.OK, session.Executed)
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	round := func(ctx context.Context) {
		want := runs.Load() + open
		for range open {
			wg.Go(func() {
				if u := ask(ctx, c, "big", ""); ctx.Err() == nil {
					u.is(t, session.OK, session.Executed)
				}
			})
		}
		eventually(t, "all results are made, or it is not read for", func() bool { return runs.Load() == want || proxy.Taken() > 1 })
	}
	proxy.FreezeOne(faultproxy.ToClient)
	round(soon(t))
	proxy.Thaw()
	wg.Wait()
	if proxy.Taken() != 1 {
		t.Error("the connection of a client that is only slow was closed")
	}
	proxy.FreezeOne(faultproxy.ToClient)
	rounds, most := 0, 0
	for ; rounds < 40 && proxy.Taken() == 1; rounds++ {
		ctx, giveUp := context.WithCancel(soon(t))
		round(ctx)
		giveUp() // and the server may forget them
		wg.Wait()
		most = max(most, runtime.NumGoroutine()-before)
	}
	proxy.Thaw()
	t.Logf("%d times %d results that nobody reads, %d goroutines at the most, %d connections", rounds, open, most, proxy.Taken())
	if proxy.Taken() == 1 || most > 5*open {
		t.Errorf("results wait without a bound: %d goroutines", most)
	}
	ask(soon(t), c, "big", "").is(t, session.OK, session.Executed)
}

// Who has nothing to say has nobody who waits for it but its readers.
func TestS1_20_AnIdleConnectionHasItsReadersAlone(t *testing.T) {
	const conns = 64
	h := newHost(t, "a", hostOptions{})
	var servers []conn.Endpoint
	for i := range conns {
		servers = append(servers, conn.Endpoint{ID: fmt.Sprint(i), TCP: h.addr})
	}
	c := newClient(t, quick(), servers...)
	reach := func() {
		for _, e := range servers {
			u := Call{Method: "who", Server: e.ID}
			c.Do(soon(t), &u)
			u.is(t, session.OK, session.Executed)
		}
	}
	before := runtime.NumGoroutine()
	reach()
	if n := c.Counts().Conns; n != conns {
		t.Fatalf("%d connections", n)
	}
	t.Logf("%d goroutines for %d connections, of both sides", runtime.NumGoroutine()-before, conns)
	eventually(t, "a goroutine for each end, and a few", func() bool { return runtime.NumGoroutine()-before <= 2*conns+16 })
}

func TestS1_23_StartReturnsAlthoughThePeerDoesNotRead(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	proxy, e := h.behind()
	c := newClient(t, quick(), e)
	ask(soon(t), c, "who", "").is(t, session.OK, session.Executed)
	proxy.Freeze()
	const calls = 100
	args := make([]byte, 32<<10)
	took := make([]time.Duration, 0, calls)
	ends := make(chan *Call, 10*calls)
	start := func(ctx context.Context) {
		c.Start(ctx, &Call{Method: "who", Args: args}, func(u *Call) { ends <- u })
	}
	for range calls {
		began := time.Now()
		start(soon(t))
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("Start took %v in the middle, %v at the most", took[calls/2], took[calls-1])
	if took[calls/2] > 10*time.Millisecond {
		t.Errorf("Start waits: %v", took[calls/2])
	}
	ctx, cancel := context.WithTimeout(soon(t), 100*time.Millisecond)
	defer cancel()
	for range 200 {
		start(ctx)
	}
	if ctx.Err() == nil {
		t.Error("6 MiB more found room")
	}
	proxy.Thaw()
	done := 0
	for range calls + 200 {
		if u := <-ends; u.Outcome.Code == session.OK {
			done++
		} else if u.Outcome.Code != session.DeadlineExceeded {
			t.Errorf("%v", u.Outcome)
		}
	}
	if done < calls {
		t.Errorf("%d calls were done", done)
	}
}

func TestS1_30_ABrokenConnectionIsEPIPE(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	proxy, e := h.behind()
	o := quick()
	o.Pool.Backoff = conn.Backoff{First: time.Minute, Most: time.Minute}
	c := newClient(t, o, e)
	state := func() conn.State { s, _ := c.service.FrontEnds()[0].State(); return s }
	if s := state(); s != conn.Disconnected {
		t.Errorf("before the first call it is %v", s)
	}
	proxy.Freeze()
	go ask(soon(t), c, "do", "1")
	eventually(t, "CONNECTING", func() bool { return state() == conn.Connecting })
	proxy.Thaw()
	eventually(t, "CONNECTED", func() bool { return state() == conn.Connected })
	eventually(t, "the call is done", func() bool { return c.Counts().Open == 0 })
	proxy.Reset()
	eventually(t, "EPIPE", func() bool { return state() == conn.EPIPE })
	if err := c.Update(nil); err != nil {
		t.Fatal(err)
	}
}

// A server of three dies that has some calls, to which some are being sent, and that more wait
// for, as it takes no more at once. What was not sent is done by the others; what was, is not,
// unless it may run twice.
func TestS1_31_WhatWasNotSentIsDoneByOthers(t *testing.T) {
	const sent, half, queued = 100, 100, 800
	g := newGate()
	var dead *host
	dead = newHost(t, "dead", hostOptions{
		core: server.Options{Domain: session.DomainOptions{Open: sent + half}},
		admit: func(hello *frame.Hello) frame.HelloAck {
			return frame.Answer(hello, frame.HelloAck{Codecs: 7, MaxOpen: sent + half})
		},
		methods: []server.Method{{Name: "work", Run: func(j *server.Job) (session.Code, []byte) {
			dead.ran(j)
			return g.run(j)
		}}},
	})
	defer close(g.open)
	proxy, e := dead.behind()
	others := make([]*host, 2)
	for i, id := range []string{"a", "b"} {
		others[i] = newHost(t, id, hostOptions{methods: []server.Method{{Name: "work", Run: func(j *server.Job) (session.Code, []byte) { return others[i].do(j) }}}})
	}
	o := quick()
	o.Session.FailoverAfter = 100 * time.Millisecond
	c := newClient(t, o, e)
	ends := make(chan *Call, sent+half+queued)
	group := map[string]string{}
	start := func(what string, n, size int) {
		for i, name := range names(what, n) {
			args := name + strings.Repeat(".", size)
			group[args] = what
			c.Start(soon(t), &Call{Method: "work", Args: []byte(args), Idempotent: i%2 == 0}, func(u *Call) { ends <- u })
		}
	}
	start("sent", sent, 0)
	for range sent {
		<-g.entered
	}
	proxy.Freeze()
	start("half", half, 32<<10) // more than what is on its way may be: some waits at the client
	start("queued", queued, 0)
	if err := c.Update([]conn.Endpoint{e, others[0].endpoint(), others[1].endpoint()}); err != nil {
		t.Fatal(err)
	}
	for _, h := range others { // are connected already
		c.Do(soon(t), &Call{Method: "who", Server: h.id})
	}
	proxy.Refuse(true)
	proxy.Reset()
	done, lost := map[string]int{}, map[string]int{}
	for all, sure := 0, queued+(sent+half)/2; all < sent+half+queued; all++ {
		u := <-ends
		what, there, elsewhere := group[string(u.Args)], dead.count(string(u.Args)), others[0].count(string(u.Args))+others[1].count(string(u.Args))
		if there != 0 && what != "sent" {
			t.Errorf("%s: it is at the server that has died", what)
		}
		if what == "queued" || u.Idempotent {
			sure--
		}
		if what != "queued" && !u.Idempotent && u.Outcome.Code == session.Lost {
			lost[what]++
			if u.is(t, session.Lost, session.Indeterminate); elsewhere != 0 {
				t.Errorf("%s: it was sent, and ran elsewhere", what)
			}
			continue
		}
		done[what]++
		if u.is(t, session.OK, session.Executed); elsewhere != 1 {
			t.Errorf("%s: it ran %d times elsewhere", what, elsewhere)
		}
		if sure == 0 { // those that are left were sent, and wait for the server
			sure--
			if err := c.Update([]conn.Endpoint{others[0].endpoint(), others[1].endpoint()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("done %v, lost %v", done, lost)
	if done["sent"] != sent/2 || lost["sent"] != sent/2 || done["half"] <= half/2 {
		t.Errorf("done %v, lost %v", done, lost)
	}
}

// The server has taken the connection, and nothing has been sent.
func TestS1_31_WhatWaitsForAConnectionIsDoneByOthers(t *testing.T) {
	a, b, dead := newHost(t, "a", hostOptions{}), newHost(t, "b", hostOptions{}), newHost(t, "dead", hostOptions{})
	proxy, e := dead.behind()
	proxy.Freeze() // it takes connections, and nothing is sent before it has answered
	c := newClient(t, Options{}, e)
	const calls = 1000
	ends := make(chan *Call, calls)
	all := names("call ", calls)
	for _, name := range all {
		c.Start(soon(t), &Call{Method: "do", Args: []byte(name)}, func(u *Call) { ends <- u })
	}
	eventually(t, "it is dialled", func() bool { return proxy.Taken() > 0 })
	if err := c.Update([]conn.Endpoint{e, a.endpoint(), b.endpoint()}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} { // are connected already
		c.Do(soon(t), &Call{Method: "who", Server: id})
	}
	began := time.Now()
	proxy.Reset()
	var first time.Duration
	for i := range calls {
		(<-ends).is(t, session.OK, session.Executed)
		if i == 0 {
			first = time.Since(began)
		}
	}
	moved := time.Since(began)
	began = time.Now()
	for _, name := range names("again ", calls) {
		c.Start(soon(t), &Call{Method: "do", Args: []byte(name)}, func(u *Call) { ends <- u })
	}
	for range calls {
		(<-ends).is(t, session.OK, session.Executed)
	}
	t.Logf("F10: of %d calls the first was done by another %v after its server died, the last after %v; as many take %v if none dies", calls, first, moved, time.Since(began))
	for _, name := range all {
		if n := a.count(name) + b.count(name) + dead.count(name); n != 1 {
			t.Errorf("%q ran %d times", name, n)
		}
	}
}

// killed is a client of three servers that it was connected to, and that are dead. The clock of
// its pool shows what at does.
func killed(t *testing.T, o Options, at *atomic.Pointer[time.Time]) *Client {
	t.Helper()
	begin := time.Now()
	at.Store(&begin)
	o.Pool.Now = func() time.Time { return *at.Load() }
	var hosts []*host
	var endpoints []conn.Endpoint
	for _, id := range []string{"a", "b", "c"} {
		h := newHost(t, id, hostOptions{})
		hosts, endpoints = append(hosts, h), append(endpoints, h.endpoint())
	}
	c := newClient(t, o, endpoints...)
	for _, h := range hosts {
		u := Call{Method: "who", Server: h.id}
		c.Do(soon(t), &u)
		u.is(t, session.OK, session.Executed)
		h.stop()
	}
	eventually(t, "all connections have ended", func() bool { return c.Counts().Conns == 0 })
	return c
}

func TestS1_32_WithoutAServerThereIsAnErrorAtOnce(t *testing.T) {
	var at atomic.Pointer[time.Time]
	c := killed(t, quick(), &at)
	var took []time.Duration
	for range 40 { // every server is dialled, refuses, and nobody waits for more
		later := at.Load().Add(time.Minute)
		at.Store(&later)
		eventually(t, "all may be dialled again", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return !slices.ContainsFunc(c.list, func(p *peer) bool { return p.session.Resting(c.now()) })
		})
		before := c.Counts().Sockets.Dials
		began := time.Now()
		u := ask(soon(t), c, "do", "x")
		took = append(took, time.Since(began))
		u.is(t, session.NoServer, session.NotExecuted)
		if n := c.Counts().Sockets.Dials - before; n != 3 {
			t.Errorf("three servers were dialled %d times", n)
		}
	}
	slices.Sort(took)
	t.Logf("the error took %v in the middle, %v at the most", took[20], took[39])
	if took[20] > 10*time.Millisecond || took[39] > 2*time.Second { // a dial may take 8 s
		t.Errorf("it takes %v", took)
	}
}

// While dead servers are left alone, a call does not even wait for somebody to find that out.
func TestS1_32_WhileServersAreLeftAloneNobodyIsWaitedFor(t *testing.T) {
	o := quick()
	o.Session.RedialLeast, o.Session.RedialMost = time.Hour, time.Hour
	c := killed(t, o, new(atomic.Pointer[time.Time]))
	ask(soon(t), c, "do", "x").is(t, session.NoServer, session.NotExecuted)
	dials := c.Counts().Sockets.Dials
	for range 40 {
		ended := make(chan *Call, 1)
		c.Start(soon(t), &Call{Method: "do", Args: []byte("x")}, func(u *Call) { ended <- u })
		select {
		case u := <-ended:
			u.is(t, session.NoServer, session.NotExecuted)
		default:
			t.Fatal("it has not ended when it has begun")
		}
	}
	if n := c.Counts().Sockets.Dials - dials; n != 0 {
		t.Errorf("they were dialled %d times", n)
	}
}

func TestS1_33_EachServerIsTriedOnce(t *testing.T) {
	var endpoints []conn.Endpoint
	var proxies []*faultproxy.Proxy
	for i := range 5 {
		p := behind(t, func() string { return "127.0.0.1:1" })
		p.Refuse(true)
		proxies = append(proxies, p)
		endpoints = append(endpoints, conn.Endpoint{ID: fmt.Sprint(i), TCP: p.Addr()})
	}
	c := newClient(t, Options{}, endpoints...)
	u := ask(soon(t), c, "do", "x")
	u.is(t, session.NoServer, session.NotExecuted)
	taken := 0
	for i, p := range proxies {
		if n := p.Taken(); n > 1 {
			t.Errorf("server %d was dialled %d times", i, n)
		}
		taken += p.Taken()
	}
	if want := len(proxies); u.Attempts != want || taken != want {
		t.Errorf("%d attempts, %d dials, want %d", u.Attempts, taken, want)
	}
}

// A port that takes connections and says nothing is no server of calls, or one that hangs.
func TestAServerThatSaysNothingIsNamed(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := quick()
	o.Session.FailoverAfter = 50 * time.Millisecond
	u := ask(soon(t), newClient(t, o, conn.Endpoint{ID: "a", TCP: l.Addr().String()}), "do", "x")
	u.is(t, session.NoServer, session.NotExecuted)
	if want := `server "a" does not answer`; u.Text != want {
		t.Errorf("%q, want %q", u.Text, want)
	}
}

// A server that failed is left alone, longer each time, and then dialled once, however many calls
// there are; when that succeeds it is used again, and the pauses are short once more.
func TestS1_34_AServerThatIsBackIsUsedAgain(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	proxy, e := h.behind()
	proxy.Refuse(true)
	var at atomic.Pointer[time.Time]
	begin := time.Now()
	at.Store(&begin)
	o := quick()
	o.Session.RedialLeast, o.Session.RedialMost = time.Nanosecond, time.Nanosecond // the pool's pauses alone
	o.Pool.Backoff = conn.Backoff{First: time.Second, Most: 4 * time.Second}
	o.Pool.Now = func() time.Time { return *at.Load() }
	c := newClient(t, o, e)
	many := func(code session.Code, ran session.Execution) {
		t.Helper()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { ask(soon(t), c, "do", "x").is(t, code, ran) })
		}
		wg.Wait()
	}
	dials := uint64(0)
	dialled := func(when string) {
		t.Helper()
		if n := c.Counts().Sockets.Dials; n != dials {
			t.Errorf("%s: %d dials, want %d", when, n, dials)
		}
	}
	pass := func(d time.Duration) {
		later := at.Load().Add(d)
		at.Store(&later)
	}
	for i, pause := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 4 * time.Second} {
		dials++
		many(session.NoServer, session.NotExecuted)
		dialled(fmt.Sprintf("failure %d", i+1))
		pass(pause*8/10 - 1) // the pause is within a fifth of that
		many(session.NoServer, session.NotExecuted)
		dialled(fmt.Sprintf("in pause %d", i+1))
		pass(pause*4/10 + 2)
	}
	proxy.Refuse(false)
	dials++
	many(session.OK, session.Executed)
	dialled("it is back")
	proxy.Refuse(true)
	proxy.Reset()
	eventually(t, "the connection has ended", func() bool { return c.Counts().Conns == 0 })
	dials++ // nothing says that a new connection fails
	many(session.NoServer, session.NotExecuted)
	dialled("it has failed again")
	pass(2*time.Second*12/10 + 1) // the connection's end was the first failure
	proxy.Refuse(false)
	dials++
	many(session.OK, session.Executed)
	dialled("it is back again")
}

func TestS1_37_ReadyWaitsForServers(t *testing.T) {
	a := conn.Endpoint{ID: "a", TCP: "127.0.0.1:1"}
	b, last := a, a
	b.ID, last.ID = "b", "c"
	c := newClient(t, quick(), a, b)
	if err := c.Ready(soon(t), 0); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(soon(t), 10*time.Millisecond)
	defer cancel()
	if err := c.Ready(ctx, 3); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with two servers: %v", err)
	}
	ready := make(chan error)
	go func() { ready <- c.Ready(soon(t), 3) }()
	if err := c.Update([]conn.Endpoint{a, b, last}); err != nil {
		t.Fatal(err)
	}
	if err := <-ready; err != nil {
		t.Error(err)
	}
	go func() { ready <- c.Ready(soon(t), 4) }()
	time.Sleep(time.Millisecond)
	_ = c.Close()
	if err := <-ready; !errors.Is(err, ErrClosed) {
		t.Errorf("when the client is closed: %v", err)
	}
}

func TestS1_39_TeardownInAnyOrder(t *testing.T) {
	for _, order := range []string{"client first", "server first", "both", "proxy first"} {
		t.Run(order, func(t *testing.T) {
			g := newGate()
			h := newHost(t, "a", hostOptions{core: server.Options{Limit: 4}, methods: []server.Method{{Name: "wait", Run: g.run}}})
			proxy, e := h.behind()
			c := newClient(t, quick(), e)
			ends := make(chan *Call, 100)
			for _, name := range names("", 100) {
				go func() { ends <- ask(t.Context(), c, "wait", name) }()
			}
			for range 4 {
				<-g.entered
			}
			time.AfterFunc(10*time.Millisecond, func() { close(g.open) })
			shut := []func(){func() { _ = c.Close() }, h.stop}
			switch order {
			case "server first":
				shut[0], shut[1] = shut[1], shut[0]
			case "both":
				go h.stop()
			case "proxy first":
				_ = proxy.Close()
			}
			for _, do := range shut {
				do()
			}
			ran := 0
			for range 100 {
				u := <-ends
				switch u.Outcome.Execution {
				case session.Executed:
					ran++
				case session.NotExecuted, session.Indeterminate:
				default:
					t.Errorf("%+v", u.Outcome)
				}
			}
			t.Logf("%d of 100 calls were answered", ran)
		})
	}
}

// A server that takes connections and answers nothing, such as one that is stopped, keeps one
// call waiting; after that, others have its calls until it has answered.
func TestS1_31_NoCallWaitsForAServerThatDoesNotAnswer(t *testing.T) {
	a, stopped := newHost(t, "a", hostOptions{}), newHost(t, "stopped", hostOptions{})
	proxy, e := stopped.behind()
	proxy.Freeze()
	o := Options{}
	o.Pool.Backoff = conn.Backoff{First: time.Nanosecond, Most: time.Nanosecond}
	c := newClient(t, o, e, a.endpoint())
	failed := &Call{Method: "who", Server: "stopped"}
	go func() {
		eventually(t, "it is dialled", func() bool { return proxy.Taken() > 0 })
		proxy.Reset()
	}()
	c.Do(soon(t), failed)
	failed.is(t, session.NoServer, session.NotExecuted)
	for i := range 100 {
		u := &Call{Method: "who"}
		c.Do(soon(t), u)
		u.is(t, session.OK, session.Executed)
		if u.Attempts != 1 {
			t.Fatalf("call %d was at %d servers, and waited for one that had failed", i, u.Attempts)
		}
	}
	proxy.Thaw()
	eventually(t, "it answers, and has calls again", func() bool {
		u := &Call{Method: "who"}
		c.Do(soon(t), u)
		return string(u.Reply) == "stopped"
	})
}

// TestACallThatTheEndOfAnotherStartsIsAnsweredAtOnce has each call of a chain started by the end of the one before.
func TestACallThatTheEndOfAnotherStartsIsAnsweredAtOnce(t *testing.T) {
	const chain = 50
	r := newRig(t, server.Options{})
	c := r.client(Options{})
	for range 100 { // callers who read by themselves
		c.Do(soon(t), &Call{Method: "echo"})
	}
	quick, floor := time.Hour, time.Hour // the floor is as many calls of callers who wait
	late := func() bool { return quick > floor+chain*time.Millisecond*9/10 }
	for i := 0; i < 100 && (i == 0 || late()); i++ {
		begin := time.Now()
		for range chain {
			c.Do(soon(t), &Call{Method: "echo"})
		}
		floor = min(floor, time.Since(begin))
		left, ended := chain, make(chan struct{})
		var next func(*Call)
		next = func(*Call) {
			if left--; left == 0 {
				close(ended)
				return
			}
			c.Start(soon(t), &Call{Method: "echo"}, next)
		}
		start := time.Now()
		c.Start(soon(t), &Call{Method: "echo"}, next)
		<-ended
		quick = min(quick, time.Since(start))
	}
	if late() {
		t.Errorf("%d calls, one after the other, take %v, of callers who wait %v", chain, quick, floor)
	}
}
