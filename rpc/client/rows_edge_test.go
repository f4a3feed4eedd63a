package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

func TestC9_AContextThatHasEndedAlready(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	c := newClient(t, quick(), h.endpoint())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ends := make(chan *Call, 100)
	for i := range 100 {
		u := ask(ctx, c, "do", "never")
		u.is(t, session.Canceled, session.NotExecuted)
		c.Start(ctx, &Call{Method: "do", Args: fmt.Append(nil, i)}, func(u *Call) { ends <- u })
	}
	for range 100 {
		(<-ends).is(t, session.Canceled, session.NotExecuted)
	}
	ask(soon(t), c, "do", "last").is(t, session.OK, session.Executed)
	if len(ends) != 0 || h.count("never") != 0 {
		t.Errorf("%d calls ended twice, %d ran", len(ends), h.count("never"))
	}
}

// A thread that is stopped between two looks at the clock must not add that time to a deadline.
// Each look takes time, so a sum of two of them is always a little late.
func TestC9_ADeadlineIsNotLaterThanItsContexts(t *testing.T) {
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	for _, tc := range []struct {
		name  string
		at    func() time.Time
		about time.Duration
	}{
		{"measured", func() time.Time { return time.Now().Add(time.Hour) }, 0},
		{"in the past", func() time.Time { return time.Now().Add(-time.Nanosecond) }, 0},
		{"of the calendar", func() time.Time { return time.Now().Add(time.Hour).Round(0) }, 10 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 1000 {
				at := tc.at()
				ctx, cancel := context.WithDeadline(t.Context(), at)
				k := c.prepare(ctx, &Call{})
				cancel()
				if got, want := k.inv.Deadline, at.Sub(c.start0)+1; got > want+tc.about || got < want-tc.about {
					t.Fatalf("%v on the client's clock, %v after the context's", got, got-want)
				}
			}
		})
	}
}

func TestC27_CallersGiveUpWhileTheirCallsAreSent(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	proxy, e := h.behind()
	o := quick()
	o.Grace = time.Microsecond
	c := newClient(t, o, e)
	var wg sync.WaitGroup
	for round := range 20 {
		proxy.Cut()
		for w := range 64 {
			wg.Go(func() {
				args := []byte(fmt.Sprintf("%d %d", round, w))
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(w)*100*time.Microsecond)
				defer cancel()
				u := Call{Method: "do", Args: args, Wait: true}
				c.Do(ctx, &u)
				clear(args) // they are the caller's again
			})
		}
		wg.Wait()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for args, n := range h.runs {
		if n != 1 || args[0] == 0 {
			t.Errorf("%q ran %d times", args, n)
		}
	}
}

func TestC27_ALongCallIsCancelledWhileItIsSent(t *testing.T) {
	g := newGate()
	h := newHost(t, "a", hostOptions{methods: []server.Method{{Name: "wait", Run: g.run}}})
	proxy, e := h.behind()
	c := newClient(t, quick(), e)
	other := make(chan *Call)
	go func() { other <- ask(soon(t), c, "wait", "other") }()
	<-g.entered
	proxy.Delay(2 * time.Millisecond)
	long := bytes.Repeat([]byte("x"), 20<<20)
	for range 3 {
		ctx, cancel := context.WithTimeout(soon(t), 30*time.Millisecond)
		u := Call{Method: "do", Args: long}
		c.Do(ctx, &u)
		cancel()
		if u.Outcome.Code != session.DeadlineExceeded || u.Outcome.Execution == session.Executed {
			t.Errorf("%v, %v", u.Outcome.Code, u.Outcome.Execution)
		}
	}
	proxy.Delay(0)
	// No memory of the cancelled ones is held against a message of 60 MiB.
	u := ask(soon(t), c, "who", string(bytes.Repeat([]byte("y"), 60<<20)))
	u.is(t, session.OK, session.Executed)
	close(g.open)
	(<-other).is(t, session.OK, session.Executed)
	if proxy.Taken() != 1 || h.count(string(long)) != 0 {
		t.Errorf("%d connections, %d runs", proxy.Taken(), h.count(string(long)))
	}
}

func TestC1_TheXIDOfALostCallIsTheOneThatTheServerSaw(t *testing.T) {
	g := newGate()
	var h *host
	wait := server.Method{Name: "wait", Run: func(j *server.Job) (session.Code, []byte) { h.ran(j); return g.run(j) }}
	h = newHost(t, "a", hostOptions{methods: []server.Method{wait}})
	_, e := h.behind()
	proxy := behind(t, func() string { return h.addr })
	e.TCP = proxy.Addr()
	c := newClient(t, quick(), e)
	done := make(chan *Call)
	go func() { done <- ask(soon(t), c, "wait", "x") }()
	<-g.entered
	old := h
	h = newHost(t, "a", hostOptions{}) // without a journal: another table
	proxy.Cut()
	u := <-done
	u.is(t, session.Expired, session.Indeterminate) // the table does not know the session
	if old.count("x") != 1 || u.XID != old.xid("x") {
		t.Errorf("the call is %v, the server has seen %v", u.XID, old.xid("x"))
	}
	close(g.open)
}

func TestS1_38_OneWayCallsEnd(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	proxy, e := h.behind()
	ends := make(chan *Call, 1000)
	o := quick()
	o.OneWayEnd = func(u *Call) { ends <- u }
	o.Grace = time.Millisecond
	c := newClient(t, o, e)
	for i := range 300 {
		c.Do(soon(t), &Call{Method: []string{"do", "do!"}[i%2], Args: fmt.Append(nil, i), OneWay: true})
	}
	for range 300 {
		(<-ends).is(t, session.OK, session.Executed)
	}
	proxy.Delay(3 * time.Millisecond)
	cuts := make(chan struct{})
	go func() { // nothing that is lost on the way is sent in vain, or runs twice
		defer close(cuts)
		for range 20 {
			time.Sleep(10 * time.Millisecond)
			proxy.Reset()
		}
	}()
	for i := range 300 {
		c.Do(soon(t), &Call{Method: []string{"do", "do!"}[i%2], Args: fmt.Append(nil, "over cuts ", i), OneWay: true})
		time.Sleep(500 * time.Microsecond)
	}
	<-cuts
	proxy.Delay(0)
	for range 300 {
		u := <-ends
		want := 1
		if u.Outcome.Execution == session.NotExecuted { // nobody could be reached just then
			want = 0
		} else {
			u.is(t, session.OK, session.Executed)
		}
		if n := h.count(string(u.Args)); n != want {
			t.Errorf("%s ran %d times: %v", u.Args, n, u.Outcome)
		}
	}
	for i := range 300 {
		if n := h.count(fmt.Sprint(i)); n != 1 {
			t.Errorf("call %d ran %d times", i, n)
		}
	}
	proxy.Freeze()
	ctx, cancel := context.WithTimeout(soon(t), 20*time.Millisecond)
	defer cancel()
	c.Do(ctx, &Call{Method: "do", Args: []byte("late"), OneWay: true})
	select {
	case u := <-ends:
		u.is(t, session.DeadlineExceeded, session.Indeterminate)
	case <-time.After(10 * time.Second):
		t.Error("a one-way call outlives its deadline")
	}
}

func TestC8_ListsAreReplacedAtOnce(t *testing.T) {
	a, b := newHost(t, "a", hostOptions{}), newHost(t, "b", hostOptions{})
	c := newClient(t, quick(), a.endpoint(), b.endpoint())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 100 {
				list := []conn.Endpoint{a.endpoint(), b.endpoint()}
				if err := c.Update(list[(i+w)%2 : (i+w)%2+1]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 300 {
		u := ask(soon(t), c, "who", "")
		if u.Outcome.Code != session.OK && u.Outcome.Execution != session.NotExecuted {
			t.Errorf("%+v", u)
		}
	}
	wg.Wait()
}

func TestC2_AClientKeepsToWhatItsServerSays(t *testing.T) {
	g := newGate()
	const open, lease = 4, time.Second
	h := newHost(t, "a", hostOptions{
		core: server.Options{Domain: session.DomainOptions{Open: open, Lease: lease}},
		admit: func(hello *frame.Hello) frame.HelloAck {
			return frame.Answer(hello, frame.HelloAck{Codecs: 7, MaxOpen: open, Lease: lease})
		},
		methods: []server.Method{{Name: "wait", Run: g.run}},
	})
	c := newClient(t, quick(), h.endpoint())
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() { ask(soon(t), c, "wait", "x").is(t, session.OK, session.Executed) })
	}
	for range open {
		<-g.entered
	}
	time.Sleep(3 * lease / 2) // its session is kept, and no more calls come
	if n := len(g.entered); n != 0 {
		t.Errorf("%d calls more than the server allows", n)
	}
	close(g.open)
	wg.Wait()
	time.Sleep(3 * lease / 2)
	ask(soon(t), c, "do", "y").is(t, session.OK, session.Executed)
	if n := c.Counts(); n.Resends != 0 || n.Lost != 0 {
		t.Errorf("%+v", n)
	}
}

// A registry takes a server off the list first, and says that it is dead afterwards.
func TestC8_AServerThatHasLeftTheListIsFenced(t *testing.T) {
	g := newGate()
	a := newHost(t, "a", hostOptions{methods: []server.Method{{Name: "wait", Run: g.run}}})
	defer close(g.open)
	b := newHost(t, "b", hostOptions{methods: []server.Method{{Name: "wait", Run: echo}}})
	c := newClient(t, quick(), a.endpoint())
	once, often := make(chan *Call, 1), make(chan *Call, 1)
	go func() { once <- ask(soon(t), c, "wait", "once") }()
	<-g.entered
	go func() {
		u := &Call{Method: "wait", Args: []byte("often"), Idempotent: true}
		c.Do(soon(t), u)
		often <- u
	}()
	<-g.entered
	if err := c.Update([]conn.Endpoint{b.endpoint()}); err != nil {
		t.Fatal(err)
	}
	c.Fenced("a")
	if u := <-once; u.Outcome.Code != session.Lost || u.Outcome.Execution != session.Indeterminate || !u.Outcome.Fenced {
		t.Errorf("a call that must not run twice: %+v", u.Outcome)
	}
	if u := <-often; u.Outcome.Code != session.OK || string(u.Reply) != "often" {
		t.Errorf("an idempotent call: %+v: %s", u.Outcome, u.Text)
	}
	c.Fenced("a") // again
	c.Fenced("nobody")
}

func TestS1_39_ClosedWhileARemovedServerIsOutOfReach(t *testing.T) {
	g := newGate()
	h := newHost(t, "a", hostOptions{methods: []server.Method{{Name: "wait", Run: g.run}}})
	defer close(g.open)
	proxy, e := h.behind()
	o := quick()
	o.Session.RedialLeast, o.Session.RedialMost = time.Minute, time.Minute
	c := newClient(t, o, e)
	done := make(chan *Call, 1)
	go func() { done <- ask(t.Context(), c, "wait", "x") }()
	<-g.entered
	proxy.Refuse(true)
	proxy.Reset()
	eventually(t, "connection is gone", func() bool { return c.Counts().Conns == 0 })
	time.Sleep(20 * time.Millisecond) // for the dial that fails
	if err := c.Update(nil); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	select {
	case u := <-done:
		u.is(t, session.Lost, session.Indeterminate)
	case <-time.After(5 * time.Second):
		t.Error("a call outlives its client")
	}
}

func TestS1_10_ManyCallInTheSameProcess(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	c := newClient(t, quick(), conn.Endpoint{ID: "a", Local: h.net})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 200 {
				method := []string{"do", "do!"}[i%2]
				args := fmt.Sprintf("%s %d %d", method, w, i)
				u := ask(soon(t), c, method, args)
				u.is(t, session.OK, session.Executed)
				if string(u.Reply) != "did "+args {
					t.Errorf("reply of %q is %q", args, u.Reply)
				}
			}
		})
	}
	wg.Wait()
}

func TestS1_39_AServerInTheSameProcessIsRemovedUnderACall(t *testing.T) {
	g := newGate()
	h := newHost(t, "a", hostOptions{methods: []server.Method{{Name: "wait", Run: g.run}}})
	c := newClient(t, quick(), conn.Endpoint{ID: "a", Local: h.net})
	done := make(chan *Call)
	go func() { done <- ask(soon(t), c, "wait", "x") }()
	<-g.entered
	if err := c.Update(nil); err != nil {
		t.Fatal(err)
	}
	close(g.open)
	select {
	case u := <-done:
		u.is(t, session.OK, session.Executed)
	case <-time.After(10 * time.Second):
		t.Fatal("the client hangs")
	}
	eventually(t, "nothing is left", func() bool { n := c.Counts(); return n.Conns == 0 && n.Open == 0 }) // whoever ended the call lets go of it
}

func TestC27_AHandlerThatEndsItsGoroutine(t *testing.T) {
	h := newHost(t, "a", hostOptions{core: server.Options{Limit: 1}, methods: []server.Method{{Name: "exit", Run: func(*server.Job) (session.Code, []byte) {
		runtime.Goexit()
		return session.OK, nil
	}}, {Name: "panic", Run: func(*server.Job) (session.Code, []byte) { panic(errors.New("boom")) }}}})
	c := newClient(t, quick(), h.endpoint())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	ask(ctx, c, "exit", "").is(t, session.Failed, session.Executed)
	u := ask(soon(t), c, "panic", "")
	u.is(t, session.Failed, session.Executed)
	if u.Text != "handler panicked: boom" {
		t.Errorf("text is %q", u.Text)
	}
	ask(soon(t), c, "who", "").is(t, session.OK, session.Executed)
}

// Who waits for a reply may be reading the connection that the call has left.
func TestS1_31_WhoReadsForACallThatHasMovedHearsOfItsEnd(t *testing.T) {
	a, b := newHost(t, "a", hostOptions{}), newHost(t, "b", hostOptions{})
	c := newClient(t, quick(), a.endpoint(), b.endpoint())
	for h, other := range map[*host]*host{a: b, b: a} {
		u := &Call{Method: "who", Server: other.id}
		c.Do(soon(t), u)
		u = &Call{Method: "who", Server: h.id}
		c.Do(soon(t), u)
		u.is(t, session.OK, session.Executed)
	}
	if err := a.core.Drain(soon(t)); err != nil {
		t.Fatal(err)
	}
	for name, ctx := range map[string]context.Context{"with a deadline": soon(t), "without": context.WithoutCancel(t.Context())} {
		done := make(chan *Call, 1)
		go func() {
			var u *Call
			for i := range 8 { // a is chosen first by some
				for range 15 * min(i, 1) { // which pay for those that are refused
					c.Do(ctx, &Call{Method: "who", Server: "b"})
				}
				u = &Call{Method: "who"}
				if c.Do(ctx, u); u.Outcome.Code != session.OK {
					break
				}
			}
			done <- u
		}()
		select {
		case u := <-done:
			u.is(t, session.OK, session.Executed)
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: it waits", name)
		}
	}
}

func TestC27_GOAWAYCrossesACall(t *testing.T) {
	g := newGate()
	old, other := newHost(t, "old", hostOptions{net: conn.ServerOptions{Grace: 10 * time.Second}, methods: []server.Method{{Name: "wait", Run: g.run}}}), newHost(t, "other", hostOptions{})
	proxy, e := old.behind()
	c := newClient(t, quick(), e)
	runs := make(chan *Call)
	go func() { runs <- ask(soon(t), c, "wait", "it runs") }()
	<-g.entered
	proxy.Delay(100 * time.Millisecond)
	stopped := make(chan struct{})
	go func() {
		_ = old.net.Shutdown(soon(t))
		close(stopped)
	}()
	crossed := make(chan *Call)
	go func() { crossed <- ask(soon(t), c, "do", "it crosses") }()
	eventually(t, "it is open", func() bool { return c.Counts().Open == 2 })
	if err := c.Update([]conn.Endpoint{e, other.endpoint()}); err != nil {
		t.Fatal(err)
	}
	select {
	case u := <-crossed:
		u.is(t, session.OK, session.Executed)
	case <-time.After(5 * time.Second):
		t.Error("it waits for a server that has thrown it away")
	}
	close(g.open)
	(<-runs).is(t, session.OK, session.Executed)
	<-stopped
	if n, m := old.count("it crosses"), other.count("it crosses"); n != 0 || m != 1 {
		t.Errorf("it ran %d and %d times", n, m)
	}
}

func TestS4_17_TheServersReaperCrossesACall(t *testing.T) {
	clock := newBeats()
	h := newHost(t, "a", hostOptions{net: conn.ServerOptions{IdleTimeout: time.Second, Grace: 10 * time.Second, Ticker: clock.ticker}})
	proxy, e := h.behind()
	c := newClient(t, quick(), e)
	ask(soon(t), c, "do", "first").is(t, session.OK, session.Executed)
	eventually(t, "the last ack has arrived", func() bool { return h.core.Counts().Entries == 0 })
	proxy.Delay(50 * time.Millisecond)
	clock.advance(2 * time.Second)
	if n := h.net.Counts().Reaped; n != 1 {
		t.Fatalf("%d are sent away", n)
	}
	began := time.Now()
	ask(soon(t), c, "do", "second").is(t, session.OK, session.Executed)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if h.count("second") != 1 || proxy.Taken() != 2 {
		t.Errorf("%d runs, %d connections", h.count("second"), proxy.Taken())
	}
}

// A server leaves the list, its connection breaks, and what was there is Lost. When it is back
// on the list, what it has of before must not start after what is called now.
func TestC8_AServerThatComesBackStartsNothingOfBefore(t *testing.T) {
	for name, back := range map[string]func(c *Client, list []conn.Endpoint, cut func()) error{
		"before its connection breaks": func(c *Client, list []conn.Endpoint, cut func()) error {
			err := c.Update(list)
			u := Call{Method: "who"}
			c.Do(context.Background(), &u) // by a session of its own
			cut()
			return err
		},
		"afterwards": func(c *Client, list []conn.Endpoint, cut func()) error {
			cut()
			return c.Update(list)
		},
		"afterwards, by another name": func(c *Client, list []conn.Endpoint, cut func()) error {
			cut()
			list[0].ID = "a, registered anew"
			return c.Update(list)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate()
			g.deaf = true
			h := newHost(t, "a", hostOptions{methods: []server.Method{{Name: "wait", Run: g.run}}})
			proxy, e := h.behind()
			c := newClient(t, quick(), e)
			told := make(chan *Call, 2)
			for _, u := range []*Call{{Method: "wait", Args: []byte("runs"), Lane: 1}, {Method: "do", Args: []byte("behind it"), Lane: 1}} {
				c.Start(soon(t), u, func(u *Call) { told <- u })
			}
			<-g.entered
			eventually(t, "the other waits there", func() bool { return h.core.Counts().Entries == 2 })
			if err := c.Update(nil); err != nil {
				t.Fatal(err)
			}
			err := back(c, []conn.Endpoint{e}, func() {
				proxy.Reset()
				(<-told).is(t, session.Lost, session.Indeterminate)
				(<-told).is(t, session.Lost, session.Indeterminate)
			})
			if err != nil {
				t.Fatal(err)
			}
			ask(soon(t), c, "do", "later").is(t, session.OK, session.Executed)
			close(g.open)
			eventually(t, "the first has ended", func() bool { return h.core.Counts().Running == 0 })
			for range 20 { // what may start has done so
				ask(soon(t), c, "who", "").is(t, session.OK, session.Executed)
			}
			if n := h.count("behind it"); n != 0 {
				t.Error("what was given up has started after a later call")
			}
		})
	}
}
