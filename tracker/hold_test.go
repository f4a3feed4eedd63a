package tracker

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// ours registers a server that gives an instance, in a state ("free" offers
// ticket).
func (h *harness) ours(instance, state, ticket string) *wire {
	h.t.Helper()
	w := h.join()
	w.ask(fmt.Sprintf(`[5, {"key": "server:k", "addr": [null, 9090], "name": "pod-%s", "instance": %q, "state": %q, "reason": "why %s", "session": null}]`,
		instance, instance, state, state), "0")
	if ticket != "" {
		putOne(w, "k", ticket)
	}
	return w
}

// status returns the servers of k in short.
func (h *harness) status() []string {
	list := []string{}
	for _, s := range h.ServersOf("k") {
		list = append(list, fmt.Sprintf("%s %s %v", s.Instance, s.State, s.Held))
	}
	return list
}

func (h *harness) wantStatus(want ...string) {
	h.t.Helper()
	if got := h.status(); !slices.Equal(got, want) {
		h.t.Errorf("servers %q, want %q", got, want)
	}
}

func TestAHeldServerIsNotGrantedUntilItIsReleased(t *testing.T) {
	h := startFake(t, Options{})
	server := h.ours("uid-1", "free", "k:1")
	h.clock.advance(2 * time.Second)
	h.Hold("pool", []string{"uid-1"})
	h.wantStatus("uid-1 draining true")
	h.wantState(StateDraining, 0)
	client := h.join()
	client.send(`[4, "k", "", 1]`)
	h.wantQueue("k", 0, 1)
	server.ask(`[7]`, `["k:1"]`) // so that it does not think that it was granted
	server.ask(`[1]`, `0`)
	h.wantQueue("k", 0, 1)
	h.Hold("pool", nil)
	client.wantGrant("k:1")
	h.wantStatus("uid-1 granted false")
	server.ask(`[7]`, `[]`)
}

func TestAHoldIsForWhoRegistersOrPutsLater(t *testing.T) {
	h := startFake(t, Options{})
	h.Hold("pool", []string{"uid-1"})
	server := h.ours("uid-1", "free", "k:1")
	h.wantStatus("uid-1 draining true")
	server.ask(`[3, "k", [9090, "k:2"], null]`, "0")
	client := h.join()
	client.send(`[4, "k", "", 1]`)
	client.wantOpen()
	h.wantQueue("k", 0, 1)
	server.close() // and comes again
	h.wantConns(1)
	h.ours("uid-1", "free", "k:3")
	h.wantQueue("k", 0, 1)
	h.Hold("pool", []string{"another"})
	client.wantGrant("k:3")
}

func TestOffersOfAHeldServerComeBackInTheOrderOfTheirPuts(t *testing.T) {
	h := startFake(t, Options{})
	server := h.ours("uid-1", "free", "k:1")
	putOne(server, "k", "k:2")
	h.Hold("pool", []string{"uid-1"})
	putOne(server, "k", "k:3")
	h.Hold("pool", nil)
	client := h.join()
	for _, ticket := range []string{"k:1", "k:2", "k:3"} {
		client.send(`[4, "k", "", 1]`)
		client.wantGrant(ticket)
	}
}

func TestGrantedAndBusyServersStayWhatTheyAreWhenHeld(t *testing.T) {
	h := startFake(t, Options{})
	granted := h.ours("granted", "free", "k:1")
	h.take("k:1")
	busy := h.ours("busy", "busy", "")
	h.ours("starting", "starting", "")
	h.ours("quarantined", "quarantined", "")
	all := []string{"granted", "busy", "starting", "quarantined"}
	h.Hold("pool", all)
	h.wantStatus("granted granted true", "busy busy true", "starting starting true", "quarantined quarantined true")
	putOne(granted, "k", "k:2") // their sessions are over
	putOne(busy, "k", "k:3")
	h.wantStatus("granted draining true", "busy draining true", "starting starting true", "quarantined quarantined true")
	h.wantQueue("k", 0, 0)
	h.Hold("pool", nil)
	h.wantQueue("k", 2, 0)
}

// What hung is withheld, what is held is held: being heard again is not being
// released, and being released is not being heard again.
func TestAHeldServerThatHangs(t *testing.T) {
	for name, order := range map[string][]string{
		"held, hangs, is heard, is released": {"hold", "hang", "poll", "release"},
		"hangs, is held, is heard, released": {"hang", "hold", "poll", "release"},
		"held, hangs, is released, is heard": {"hold", "hang", "release", "poll"},
		"hangs, is held, released, is heard": {"hang", "hold", "release", "poll"},
	} {
		t.Run(name, func(t *testing.T) {
			h := startFake(t, Options{})
			server := h.ours("uid-1", "free", "k:1")
			var client *wire
			for i, step := range order {
				switch step {
				case "hold":
					h.Hold("pool", []string{"uid-1"})
				case "release":
					h.Hold("pool", nil)
				case "hang":
					h.clock.advance(DefaultHungAfter + time.Second)
					h.wantState(StateHung, DefaultHungAfter+time.Second)
				case "poll":
					server.send(`[7]`)
					if i < len(order)-1 {
						server.want(`["k:1"]`)
					}
				}
				if i == 1 {
					client = h.join()
					client.send(`[4, "k", "", 1]`)
					h.wantQueue("k", 0, 1)
				}
				if i == len(order)-2 {
					h.wantQueue("k", 0, 1)
				}
			}
			client.wantGrant("k:1")
		})
	}
}

func TestAnInstanceIsHeldAsLongAsAnyOwnerHoldsIt(t *testing.T) {
	h := startFake(t, Options{})
	h.ours("uid-1", "free", "k:1")
	h.ours("uid-2", "free", "k:2")
	h.Hold("a", []string{"uid-1", "uid-1", "uid-2"})
	h.Hold("b", []string{"uid-1"})
	h.wantStatus("uid-1 draining true", "uid-2 draining true")
	h.Hold("a", nil)
	h.wantStatus("uid-1 draining true", "uid-2 free false")
	h.Hold("b", []string{"uid-2"})
	h.wantStatus("uid-1 free false", "uid-2 draining true")
	h.Hold("nobody", nil)
	h.Hold("b", nil)
	h.wantStatus("uid-1 free false", "uid-2 free false")
}

func TestServersWithoutAnInstanceCannotBeHeld(t *testing.T) {
	h := startFake(t, Options{})
	h.register("k", "k:1")
	h.ours("uid-1", "free", "k:2")
	h.Hold("pool", []string{"", "uid-9"})
	h.wantQueue("k", 2, 0)
}

// A grant that did not arrive comes back to a server that is held by now.
func TestAReturnedGrantOfAHeldServerIsHeld(t *testing.T) {
	r := newRegistry(false, DefaultHungAfter)
	now := newFakeClock().now
	server, client := &peer{addr: "10.0.0.1:1", host: "10.0.0.1"}, &peer{addr: "10.0.0.2:1", host: "10.0.0.2"}
	r.join(server, now)
	r.join(client, now)
	mustUpdate(t, r, server, now, `{"key": "server:k", "instance": "i", "state": "free"}`)
	mustPut(t, r, server, now, "k:1")
	out := mustRequest(t, r, client, now)
	if len(out) != 1 {
		t.Fatalf("%d grants, want 1", len(out))
	}
	r.hold("pool", []string{"i"}, now, nil)
	if again := r.undelivered(out[0].offer, client.id, now, nil); len(again) != 0 || r.queues["k"].free.Len() != 0 {
		t.Errorf("%d grants, %d free", len(again), r.queues["k"].free.Len())
	}
	mustRequest(t, r, client, now)
	if out = r.hold("pool", nil, now, nil); len(out) != 1 || out[0].offer.matchKey != "k:1" {
		t.Errorf("released: %+v", out)
	}
}
