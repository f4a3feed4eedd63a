package tracker

import (
	"fmt"
	"testing"
	"time"

	"rpcpool.dev/tvm"
)

// wantState wants the only server to be in a state since so long.
func (h *harness) wantState(want State, age time.Duration) {
	h.t.Helper()
	s := h.server()
	if State(s.State()) != want || s.Age() != age {
		h.t.Errorf("server is %s for %v, want %s for %v", s.State(), s.Age(), want, age)
	}
}

func (h *harness) wantHandoffs(want string) {
	h.t.Helper()
	if got := h.handoffs(); got != want {
		h.t.Errorf("handoffs: %s; want %s", got, want)
	}
}

// take makes a new client request k and get this ticket.
func (h *harness) take(ticket string) *wire {
	h.t.Helper()
	client := h.join()
	client.send(`[4, "k", "", 1]`)
	client.wantGrant(ticket)
	return client
}

func TestRow090_HungStockServer(t *testing.T) {
	h := startFake(t, Options{})
	server := newStockServer(h)
	for range 5 {
		server.poll()
	}
	h.wantState(StateFree, 10*time.Second)
	h.clock.advance(DefaultHungAfter)
	h.wantState(StateFree, 20*time.Second)
	h.clock.advance(time.Second) // SIGSTOP: it does not poll
	client := h.join()
	client.send(`[4, "k", "", 1]`) // finds out by itself: nobody has looked yet
	client.wantOpen()
	h.wantQueue("k", 0, 1)
	h.wantState(StateHung, 11*time.Second)
	server.send(`[7]`) // SIGCONT
	client.wantGrant("k:0.1")
	server.want(`[]`)
	h.wantState(StateGranted, 0)
	h.wantHandoffs("used 0, expired 0, returned 0, unknown 0")
}

func TestHungServerIsNotShownAsFree(t *testing.T) {
	h := startFake(t, Options{HungAfter: 5 * time.Second})
	server := newStockServer(h)
	server.poll()
	server.poll()
	h.clock.advance(6 * time.Second)
	h.wantQueue("k", 0, 0)
	h.wantState(StateHung, 6*time.Second)
	server.ask(`[7]`, `["k:0.1"]`)
	h.wantQueue("k", 1, 0)
	h.wantState(StateFree, 0)
	h.take("k:0.1")
}

func TestServersThatDoNotPollAreNotHung(t *testing.T) {
	for name, polls := range map[string][]time.Duration{
		"iOS: never":                           nil,
		"JVM: after 300 s":                     {300 * time.Second},
		"someone who looked once":              {2 * time.Second},
		"a script that asks at once and often": {0, 10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			h := startFake(t, Options{})
			server := h.register("k", "k:1")
			for _, after := range polls {
				h.clock.advance(after)
				server.ask(`[7]`, `["k:1"]`)
			}
			h.clock.advance(time.Hour)
			h.wantQueue("k", 1, 0)
			h.take("k:1")
		})
	}
}

func TestSessionOfAStockServer(t *testing.T) {
	h := startFake(t, Options{})
	server := newStockServer(h)
	server.poll()
	client := h.take("k:0.1")
	h.wantState(StateGranted, 0)
	server.poll() // one miss: the client is on its way
	h.wantState(StateGranted, 2*time.Second)
	h.clock.advance(5 * time.Second)
	h.wantState(StateGranted, 7*time.Second)
	h.clock.advance(time.Second) // no poll for 6 s: in a session
	h.wantState(StateBusy, 6*time.Second)
	if got, want := string(h.server().Info[FieldGrantedTo]), fmt.Sprintf("%q", client.nc.LocalAddr()); got != want {
		t.Errorf("granted_to %s, want %s", got, want)
	}
	client.close() // stock clients drop the tracker connection whenever they like
	h.wantConns(1)
	h.clock.advance(time.Hour)
	h.wantState(StateBusy, time.Hour+6*time.Second)
	server.offer()
	h.wantState(StateFree, 0)
	h.wantHandoffs("used 1, expired 0, returned 0, unknown 0")
	if _, ok := h.server().Info[FieldGrantedTo]; ok {
		t.Error("granted_to is still there")
	}
}

func TestShortSessionIsNotALostTicket(t *testing.T) {
	h := startFake(t, Options{})
	server := newStockServer(h)
	h.take("k:0.1")
	server.poll()
	server.poll()
	server.poll() // three misses, then the client comes and is done at once
	server.offer()
	h.wantHandoffs("used 1, expired 0, returned 0, unknown 0")
}

// JVM servers poll after 300 s and then put the same match key again.
func TestSameTicketAgainWasNeverUsed(t *testing.T) {
	h := startFake(t, Options{})
	server := h.register("k", "k:1")
	h.take("k:1")
	h.clock.advance(300 * time.Second)
	server.ask(`[7]`, `[]`)
	putOne(server, "k", "k:1")
	h.wantHandoffs("used 0, expired 1, returned 0, unknown 0")
	h.take("k:1")
}

func TestServerClosesAfterAGrant(t *testing.T) {
	for name, tc := range map[string]struct {
		after time.Duration
		want  string
	}{
		"at once: nobody knows":    {0, "used 0, expired 0, returned 0, unknown 1"},
		"in a session (JVM's way)": {time.Minute, "used 1, expired 0, returned 0, unknown 0"},
	} {
		t.Run(name, func(t *testing.T) {
			h := startFake(t, Options{})
			server := newStockServer(h)
			h.take("k:0.1")
			h.clock.advance(tc.after)
			server.close()
			h.wantConns(1)
			h.wantHandoffs(tc.want)
		})
	}
}

func TestTooManyUnresolvedGrantsAreForgotten(t *testing.T) {
	h := startFake(t, Options{})
	server, client := h.join(), h.join()
	for i := range maxUnresolved + 1 {
		putOne(server, "k", fmt.Sprintf("k:%d", i))
	}
	for i := range maxUnresolved + 1 {
		client.send(`[4, "k", "", 1]`)
		client.wantGrant(fmt.Sprintf("k:%d", i))
	}
	h.wantHandoffs("used 0, expired 0, returned 0, unknown 1")
}

func TestProxyOffersSeveralKeys(t *testing.T) {
	h := startFake(t, Options{})
	proxy := h.join()
	proxy.ask(`[5, {"key": "server:proxy[a,b]", "addr": [null, 9090]}]`, "0")
	putOne(proxy, "a", "a:1")
	putOne(proxy, "b", "b:1")
	proxy.ask(`[7]`, `["a:1", "b:1"]`)
	client := h.join()
	client.send(`[4, "b", "", 1]`)
	client.wantGrant("b:1")
	h.wantState(StateFree, 0) // a's is
	putOne(proxy, "a", "a:2") // another server behind it; says nothing about b's session
	h.wantHandoffs("used 0, expired 0, returned 0, unknown 0")
	putOne(proxy, "b", "b:2")
	h.wantHandoffs("used 1, expired 0, returned 0, unknown 0")
}

// nativeServer is one of ours: it says its state, and polls in every state.
func nativeServer(h *harness) *wire {
	h.t.Helper()
	w := h.join()
	say(w, tvm.StateFree, nil)
	putOne(w, "k", "k:1")
	return w
}

func say(w *wire, s tvm.NativeState, session *tvm.SessionInfo) {
	w.t.Helper()
	m := tvm.NewUpdateInfo("k", "10.0.0.7", 9090)
	m.SetState(s, session)
	w.write(tvm.AppendMessage(nil, m))
	w.want("0")
}

func TestNativeServerSaysItsState(t *testing.T) {
	h := startFake(t, Options{})
	server := h.join()
	for _, s := range []tvm.NativeState{tvm.StateStarting, tvm.StateQuarantined, tvm.StateDraining} {
		say(server, s, nil)
		h.clock.advance(time.Second)
		h.wantState(State(s), time.Second)
		h.wantQueue("k", 0, 0)
		if _, ok := h.Summary().Queue["k"]; !ok {
			t.Errorf("the key of a %s server is not listed", s)
		}
	}
	putOne(server, "k", "k:1") // says free
	h.wantState(StateFree, 0)
	h.take("k:1")
	h.wantState(StateGranted, 0)
	say(server, tvm.StateBusy, &tvm.SessionInfo{ID: "s1", Client: "10.0.0.9:1234"})
	h.wantState(StateBusy, 0)
	if got := string(h.server().Info[tvm.FieldSession]); got != `{"id": "s1", "client": "10.0.0.9:1234"}` {
		t.Errorf("session %s", got)
	}
	for range 5 { // it polls on, which says nothing about the ticket
		h.clock.advance(2 * time.Second)
		server.ask(`[7]`, `[]`)
	}
	h.wantState(StateBusy, 10*time.Second)
	putOne(server, "k", "k:2")
	h.wantState(StateFree, 0)
	if got, ok := h.server().Info[tvm.FieldSession]; ok {
		t.Errorf("session %s is still shown", got)
	}
	h.wantHandoffs("used 1, expired 0, returned 0, unknown 0")
}

func TestNativeServerThatIsNotFreeIsWithdrawn(t *testing.T) {
	for _, s := range []tvm.NativeState{tvm.StateBusy, tvm.StateDraining, tvm.StateQuarantined, tvm.StateStarting} {
		t.Run(string(s), func(t *testing.T) {
			h := startFake(t, Options{})
			server := nativeServer(h)
			h.wantQueue("k", 1, 0)
			say(server, s, nil)
			h.wantQueue("k", 0, 0)
			server.ask(`[7]`, `[]`)
			client := h.join()
			client.send(`[4, "k", "", 1]`)
			client.wantOpen()
			putOne(server, "k", "k:2")
			client.wantGrant("k:2")
		})
	}
}

func TestNativeServerEndsItsSessionByWord(t *testing.T) {
	for _, next := range []tvm.NativeState{tvm.StateFree, tvm.StateDraining} {
		h := startFake(t, Options{})
		server := nativeServer(h)
		h.take("k:1")
		say(server, tvm.StateBusy, nil)
		h.wantHandoffs("used 0, expired 0, returned 0, unknown 0")
		say(server, next, nil)
		h.wantHandoffs("used 1, expired 0, returned 0, unknown 0")
	}
}

func TestNativeServerHangs(t *testing.T) {
	h := startFake(t, Options{})
	server := nativeServer(h)
	say(server, tvm.StateBusy, nil)
	for range 3 {
		h.clock.advance(2 * time.Second)
		server.ask(`[7]`, `[]`)
	}
	h.clock.advance(11 * time.Second)
	h.wantState(StateHung, 11*time.Second)
	server.ask(`[7]`, `[]`)
	h.wantState(StateBusy, 17*time.Second)
}

// Ours polls by contract, so nothing has to prove it: a host that freezes before
// its first polls must not stay on offer.
func TestNativeServerThatNeverPolledHangs(t *testing.T) {
	for _, s := range []tvm.NativeState{tvm.StateFree, tvm.StateBusy} {
		t.Run(string(s), func(t *testing.T) {
			h := startFake(t, Options{})
			server := h.join()
			say(server, s, nil)
			want := State(s)
			if s == tvm.StateFree {
				putOne(server, "k", "k:1")
			}
			h.clock.advance(DefaultHungAfter)
			h.wantState(want, DefaultHungAfter)
			h.clock.advance(time.Second) // SIGSTOP: not one poll
			client := h.join()
			client.send(`[4, "k", "", 1]`)
			client.wantOpen()
			h.wantQueue("k", 0, 1)
			h.wantState(StateHung, DefaultHungAfter+time.Second)
			putOne(server, "k", "k:2") // SIGCONT
			client.grant()
		})
	}
}

func TestNativeServerHangsWithATicketGranted(t *testing.T) {
	h := startFake(t, Options{})
	server := nativeServer(h)
	h.take("k:1")
	h.clock.advance(DefaultHungAfter)
	h.wantState(StateBusy, DefaultHungAfter)
	h.clock.advance(time.Second) // a session is no reason for ours to be silent
	h.wantState(StateHung, DefaultHungAfter+time.Second)
	say(server, tvm.StateBusy, nil)
	h.wantState(StateBusy, 0)
}

func TestUnknownStatesAreNotOurs(t *testing.T) {
	h := startFake(t, Options{})
	w := h.join()
	w.ask(`[5, {"key": "server:k", "addr": [null, 1], "state": "asleep"}]`, "0")
	putOne(w, "k", "k:1")
	h.wantState(StateFree, 0)
	w.ask(`[5, {"state": 5}]`, "0")
	h.wantState(StateFree, 0)
	h.take("k:1")
}

func TestServerMovesToAnotherKey(t *testing.T) {
	h := startFake(t, Options{})
	w := h.join()
	for _, info := range []string{`{"key": "server:a", "state": "busy"}`, `{"key": "server:b", "state": "busy"}`} {
		w.ask(`[5, `+info+`]`, "0")
	}
	if q := h.Summary().Queue; len(q) != 2 { // a lingers
		t.Errorf("queues %v", q)
	}
	h.clock.advance(lingerFor)
	if q := h.Summary().Queue; len(q) != 1 {
		t.Errorf("queues %v, want b's only", q)
	}
	w.ask(`[5, {"key": "no server"}]`, "0")
	if s := h.Summary(); len(s.Servers) != 0 {
		t.Errorf("servers %v", s.Servers)
	}
}
