package client

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

func TestS3_06_EveryReplyFindsItsCall(t *testing.T) {
	h := newHost(t, "a", hostOptions{methods: []server.Method{{Name: "late", Run: func(j *server.Job) (session.Code, []byte) {
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		return session.OK, append([]byte("late "), j.Args...)
	}}}})
	c := newClient(t, quick(), h.endpoint())
	const calls = 20_000
	ends := make(chan *Call, calls)
	for i := range calls {
		c.Start(soon(t), &Call{Method: "late", Args: fmt.Append(nil, i)}, func(u *Call) { ends <- u })
	}
	for range calls {
		u := <-ends
		if u.is(t, session.OK, session.Executed); string(u.Reply) != "late "+string(u.Args) {
			t.Fatalf("%q got %q", u.Args, u.Reply)
		}
	}
	eventually(t, "the table is empty", func() bool { return h.core.Counts().Entries == 0 })
	if n := h.core.Counts(); n.Bytes != 0 || n.Running != 0 || n.Waiting != 0 {
		t.Errorf("%+v", n)
	}
}

func TestS3_07_ASlowHandlerHoldsNobodyUp(t *testing.T) {
	const limit = 4
	g := newGate()
	var running, most atomic.Int32
	h := newHost(t, "a", hostOptions{core: server.Options{Limit: limit}, methods: []server.Method{{Name: "wait", Run: g.run}, {Name: "count", Run: func(*server.Job) (session.Code, []byte) {
		n := running.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			continue
		}
		time.Sleep(100 * time.Microsecond)
		running.Add(-1)
		return session.OK, nil
	}}}})
	proxy, e := h.behind()
	c := newClient(t, quick(), e)
	slow := make(chan *Call)
	go func() { slow <- ask(soon(t), c, "wait", "slow") }()
	<-g.entered
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 250 {
				ask(soon(t), c, "count", "").is(t, session.OK, session.Executed)
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n != limit-1 {
		t.Errorf("%d ran at once beside the slow one, %d may", n, limit-1)
	}
	close(g.open)
	if (<-slow).is(t, session.OK, session.Executed); proxy.Taken() != 1 {
		t.Errorf("%d connections", proxy.Taken())
	}
}

func TestS3_13_EveryReplyIsLostOnce(t *testing.T) {
	var h *host
	ran := make(chan struct{}, 10)
	h = newHost(t, "a", hostOptions{methods: []server.Method{{Name: "once", Run: func(j *server.Job) (session.Code, []byte) {
		ran <- struct{}{}
		return h.do(j)
	}}}})
	proxy, e := h.behind()
	proxy.Delay(20 * time.Millisecond)
	c := newClient(t, quick(), e)
	for _, name := range names("call ", 10) {
		done := make(chan *Call)
		go func() {
			u := &Call{Method: "once", Args: []byte(name)}
			for c.Do(soon(t), u); u.Outcome.Code == session.NoServer; c.Do(soon(t), u) {
				time.Sleep(time.Millisecond)
			}
			done <- u
		}()
		<-ran
		proxy.Reset() // its reply is on its way for 20 ms
		u := <-done
		if u.is(t, session.OK, session.Executed); h.count(name) != 1 || string(u.Reply) != "did "+name || h.xid(name) != u.XID {
			t.Errorf("%d runs, reply %q", h.count(name), u.Reply)
		}
	}
	if n := h.core.Counts().Duplicates; n < 10 {
		t.Errorf("the table has seen %d duplicates", n)
	}
}

type raw struct {
	conn *conn.Conn
	got  chan session.Message
}

func (r *raw) Message(_ conn.Peer, in *conn.In) {
	var m session.Message
	if is, err := wire.ParseResponse(in, &m); is && err == nil {
		m.Body = bytes.Clone(m.Body)
		r.got <- m
	}
}

func (*raw) Closed(conn.Peer, error, []uint64) {}

func (h *host) open(id byte, resume bool) *raw {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	r := &raw{got: make(chan session.Message, 1000)}
	if r.conn, err = conn.Connect(h.t.Context(), nc, frame.Hello{}, r, conn.Options{}); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = r.conn.Close()
		<-r.conn.Done()
	})
	r.say(&session.Message{Kind: session.Hello, Closed: &session.Fence{Version: 1}, Greeting: &session.Handshake{Session: session.ID{id}, Secret: session.ID{id, 1}, Resume: resume}})
	if m := <-r.got; m.Kind != session.Welcome || m.Greeting.Resume != resume {
		h.t.Fatalf("%+v", m)
	}
	for i, name := range []string{"do", "wait"} {
		bind := conn.Message{Header: frame.Header{Type: frame.TypeBind, Seq: uint64(i + 1)}, Body: []byte(name)}
		_ = r.conn.TrySend(&bind)
	}
	return r
}

func (r *raw) say(m *session.Message) {
	var f conn.Message
	wire.Request(m, &f)
	f.Ext.Method = m.Method
	_ = r.conn.TrySend(&f)
}

func TestS3_15_ACallThatIsSentThreeTimesRunsOnce(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	r := h.open(1, false)
	for range 3 {
		r.say(&session.Message{Kind: session.Call, Seq: 1, Method: 1, Body: []byte("x")})
	}
	answers := 0
	for answers < 3 {
		switch m := <-r.got; {
		case m.Kind == session.Reply && string(m.Body) == "did x" && m.Execution == session.Executed:
			answers++
		case m.Kind == session.InProgress:
			answers++
			r.say(&session.Message{Kind: session.Call, Seq: 1, Method: 1, Body: []byte("x")})
			answers--
		default:
			t.Fatalf("%+v", m)
		}
	}
	if h.count("x") != 1 {
		t.Errorf("%d runs", h.count("x"))
	}
	r.say(&session.Message{Kind: session.Ack, Ack: 1})
	eventually(t, "it is forgotten", func() bool { return h.core.Counts().Entries == 0 })
	r.say(&session.Message{Kind: session.Call, Seq: 1, Method: 1, Body: []byte("x")})
	eventually(t, "it is stale", func() bool { return h.core.Counts().Stale == 1 })
	if h.count("x") != 1 {
		t.Errorf("%d runs", h.count("x"))
	}
}

func TestS3_23_ADuplicateOnAnotherConnectionWaits(t *testing.T) {
	g := newGate()
	h := newHost(t, "a", hostOptions{methods: []server.Method{{Name: "wait", Run: g.run}}})
	first := h.open(1, false)
	m := session.Message{Kind: session.Call, Seq: 1, Method: 2, Body: []byte("x")}
	first.say(&m)
	<-g.entered
	first.say(&m)
	second := h.open(1, true)
	second.say(&m)
	for i, r := range []*raw{first, second} { // both wait
		m := <-r.got
		if m.Kind == session.Started {
			m = <-r.got
		}
		if m.Kind != session.InProgress {
			t.Errorf("connection %d: %+v", i, m)
		}
	}
	close(g.open)
	for m := range second.got {
		if m.Kind == session.Reply {
			if string(m.Body) != "did x" {
				t.Errorf("%+v", m)
			}
			break
		}
	}
	if len(g.entered) != 0 {
		t.Error("it ran again")
	}
}

func TestS3_18_ATwinIsRefused(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	r := h.open(1, false)
	r.say(&session.Message{Kind: session.Hello, Closed: &session.Fence{Version: 1}, Greeting: &session.Handshake{Session: session.ID{1}, Secret: session.ID{9}}})
	if m := <-r.got; m.Kind != session.Gone {
		t.Errorf("%+v", m)
	}
	again := h.open(1, true)
	again.say(&session.Message{Kind: session.Call, Seq: 1, Method: 1, Body: []byte("x")})
	<-again.got
	again.say(&session.Message{Kind: session.Call, Seq: 1, Method: 1, Body: []byte("y")})
	<-again.conn.Done()
	if n := h.core.Counts(); n.Twins != 1 || n.Misused != 1 || h.count("y") != 0 {
		t.Errorf("%+v", n)
	}
}

// A client that is started anew is another one, however often.
func TestS3_18_NoIdentityIsUsedTwice(t *testing.T) {
	ids := map[session.ID]bool{}
	options := newClient(t, Options{}).opts.Session // with what identities are made of
	for range 100_000 {
		s := session.NewClient(options)
		hello := s.Connected(1, s.Add(nil), 1, nil)[0].Msg.Greeting
		for _, id := range []session.ID{hello.Session, hello.Secret} {
			if ids[id] {
				t.Fatalf("%v is used again", id)
			}
			ids[id] = true
		}
	}
	h := newHost(t, "a", hostOptions{})
	used := map[session.XID]bool{}
	for range 1000 { // the same, with all that belongs to a client
		c := newClient(t, Options{}, conn.Endpoint{ID: "a", Local: h.net})
		for range 3 {
			u := ask(soon(t), c, "do!", "x")
			if u.is(t, session.OK, session.Executed); used[u.XID] || ids[u.XID.Session] {
				t.Fatalf("%v is used again", u.XID)
			}
			used[u.XID] = true
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A server that is started anew knows no call of before: a number that comes again would be
// another call to it, and what is late of the first would be taken for the second.
func TestS3_18_NoNumberIsUsedAgainAfterARestart(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	var now atomic.Pointer[host]
	now.Store(h)
	proxy := behind(t, func() string { return now.Load().addr })
	c := newClient(t, quick(), conn.Endpoint{ID: "a", TCP: proxy.Addr()})
	last := session.XID{}
	for life := range 20 {
		for call := range 3 {
			u := Call{Method: "do", Wait: true}
			c.Do(soon(t), &u)
			u.is(t, session.OK, session.Executed)
			if u.XID.Seq <= last.Seq || call == 0 && u.XID.Session == last.Session {
				t.Fatalf("life %d: %v follows %v", life, u.XID, last)
			}
			last = u.XID
		}
		now.Load().stop()
		eventually(t, "the connection has ended", func() bool { return c.Counts().Conns == 0 })
		now.Store(newHost(t, "a", hostOptions{}))
	}
}

func TestS3_21_ASerialSessionHasOneCallOpen(t *testing.T) {
	var running, most atomic.Int32
	h := newHost(t, "a", hostOptions{methods: []server.Method{{Name: "count", Run: func(*server.Job) (session.Code, []byte) {
		n := running.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			continue
		}
		time.Sleep(time.Millisecond)
		running.Add(-1)
		return session.OK, nil
	}}}})
	o := quick()
	o.Session.Open = 1
	c := newClient(t, o, h.endpoint())
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { ask(soon(t), c, "count", "").is(t, session.OK, session.Executed) })
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d ran at once", most.Load())
	}
}

func TestS3_22_AClientThatWasAwayForLongerThanItsLease(t *testing.T) {
	g := newGate()
	h := newHost(t, "a", hostOptions{core: server.Options{Domain: session.DomainOptions{Lease: 200 * time.Millisecond}}, methods: []server.Method{{Name: "wait", Run: g.run}}})
	proxy, e := h.behind()
	c := newClient(t, quick(), e)
	done := make(chan *Call)
	go func() { done <- ask(soon(t), c, "wait", "x") }()
	<-g.entered
	proxy.Freeze()
	eventually(t, "the lease is over", func() bool { return h.core.Counts().Expired == 1 })
	close(g.open)
	proxy.Reset()
	proxy.Thaw()
	(<-done).is(t, session.Expired, session.Indeterminate)
	if len(g.entered) != 0 {
		t.Error("it ran again")
	}
	ask(soon(t), c, "do", "next").is(t, session.OK, session.Executed)
}

func TestS3_32_ManyRoundsWithoutDelay(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	c := newClient(t, quick(), h.endpoint())
	var wg sync.WaitGroup
	for w := range 5 {
		wg.Go(func() {
			for i := range 4000 {
				if w == 4 && i%8 != 0 {
					continue
				}
				if u := ask(t.Context(), c, "do!", ""); u.Outcome.Code != session.OK {
					t.Errorf("%+v", u.Outcome)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestS2_23_ManyCallsHaveOneConnection, of callers one after the other and at once.
func TestS2_23_ManyCallsHaveOneConnection(t *testing.T) {
	calls := 200_000
	if raced {
		calls = 20_000
	}
	h := newHost(t, "a", hostOptions{})
	c := newClient(t, quick(), h.endpoint())
	const callers = 64
	var wg sync.WaitGroup
	for w := range callers {
		wg.Go(func() {
			for range calls / callers {
				if u := ask(t.Context(), c, []string{"who", "do!"}[w%2], ""); u.Outcome.Code != session.OK {
					t.Errorf("%+v", u.Outcome)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := c.Counts(); n.Sockets.Dials != 1 || n.Conns != 1 {
		t.Errorf("%d calls have made %d connections, %d are there", calls, n.Sockets.Dials, n.Conns)
	}
}
