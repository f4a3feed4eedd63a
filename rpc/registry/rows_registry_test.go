package registry

import (
	"fmt"
	"testing"
	"time"
)

func TestS1_06_OneReplyHasEverything(t *testing.T) {
	r := newRig(t, Options{})
	at := Endpoints{TCP: "[2001:db8::1]:9190", Unix: "/run/a.sock", Boot: "b7", RDMA: "fe80::1"}
	m := &Registration{ID: "a", Secret: secretOf("a"), Revision: 1, Endpoints: at, Services: []Service{{"infer", 3}}}
	ack := r.register(m)
	u := r.Since(r.now, 0)
	same(t, "update", u, &Update{
		To:     ack.Version,
		Nodes:  []Node{{ID: "a", Rank: 0, Epoch: 7<<32 + 1, Endpoints: at, Services: []Service{{"infer", 3}}}},
		Digest: r.Digest(),
	})
	first, second := NewView(), NewView()
	r.follow(first)
	r.join("b", "c")
	r.follow(second)
	r.follow(first)
	same(t, "view", first.Nodes(), second.Nodes())
	if first.Digest() != second.Digest() || first.Version() != second.Version() {
		t.Errorf("two views of the same differ")
	}
}

func TestS1_13_RegistrationIsConfirmedWithRankAndEpoch(t *testing.T) {
	r := newRig(t, Options{})
	for i, id := range names(5) {
		ack := r.register(registrationOf(id))
		same(t, "ack", ack, &Ack{Rank: uint32(i), Epoch: 7<<32 + 2*uint64(i) + 1, Lease: DefaultLease(), Version: 7<<32 + uint64(i) + 1})
	}
}

func TestS1_14_RegistrationMayComeAgain(t *testing.T) {
	r := newRig(t, Options{})
	m := registrationOf("a", Service{Name: "infer"}, Service{"train", 5})
	first := r.register(m)
	r.wait(12 * time.Second)
	same(t, "ack of a copy", r.register(m), first)
	if first.Services[0].ID < FirstAutomatic {
		t.Errorf("an automatic id is %d", first.Services[0].ID)
	}
	r.wait(12 * time.Second)
	if s := r.State(r.now, first.Epoch); s != StateAlive {
		t.Errorf("a copy did not renew the lease: %v", s)
	}
	m.Revision = 2
	same(t, "ids after a change that is none", r.register(m), first)
}

func TestS1_14_WhatComesLateChangesNothing(t *testing.T) {
	r := newRig(t, Options{})
	late := registrationOf("a", Service{"infer", 1})
	late.Revision = 4
	now := registrationOf("a", Service{"infer", 2})
	now.Revision = 5
	want := r.register(now)
	same(t, "ack", r.register(late), want)
}

func TestS1_14_ATwinWaitsForTheFirst(t *testing.T) {
	r := newRig(t, Options{})
	first := r.join("a")[0]
	twin := registrationOf("a")
	twin.Secret[0]++
	r.wait(3 * time.Second)
	no := r.refused(twin, Twin)
	if no.Retry != 17*time.Second {
		t.Errorf("it may come back after %v, want 17 s", no.Retry)
	}
	refusal(t, nil, r.Renew(r.now, &Renewal{Owner: Owner{Epoch: first.Epoch, Secret: twin.Secret}}), Twin)
	r.wait(no.Retry)
	ack := r.register(twin)
	if ack.Rank != 0 || ack.Epoch <= first.Epoch {
		t.Errorf("the twin has rank %d and epoch %#x, the first had %#x", ack.Rank, ack.Epoch, first.Epoch)
	}
	refusal(t, nil, r.Renew(r.now, &Renewal{Owner: first}), Fenced)
}

func TestLeaseEndsInSteps(t *testing.T) {
	r := newRig(t, Options{})
	a := r.join("a")[0]
	for _, c := range []struct {
		silent time.Duration
		want   State
	}{
		{0, StateAlive}, {15*time.Second - 1, StateAlive}, {15 * time.Second, StateSuspect},
		{20*time.Second - 1, StateSuspect}, {20 * time.Second, StateFenced}, {time.Hour, StateFenced},
	} {
		if got := r.State(began+c.silent, a.Epoch); got != c.want {
			t.Errorf("after %v it is %v, want %v", c.silent, got, c.want)
		}
	}
	for _, epoch := range []uint64{0, a.Epoch + 1, 8 << 32} {
		if got := r.State(r.now, epoch); got != StateUnknown {
			t.Errorf("epoch %#x, which nobody was given, is %v", epoch, got)
		}
	}
	if len(r.Since(r.now, 0).Nodes) != 0 {
		t.Error("a fenced node is shown")
	}
}

// TestALastingNodeIsNeverFenced: it goes on without the registry, which forgets it, and
// comes back as another instance.
func TestALastingNodeIsNeverFenced(t *testing.T) {
	r := newRig(t, Options{})
	m := registrationOf("a")
	m.Lasting = true
	a, other := r.register(m), r.join("b")[0]
	if !Lasting(a.Epoch) || Lasting(other.Epoch) {
		t.Errorf("epochs %#x of the lasting node, %#x of the other", a.Epoch, other.Epoch)
	}
	r.wait(time.Hour)
	if got := r.State(r.now, a.Epoch); got != StateSuspect {
		t.Errorf("after an hour it is %v", got)
	}
	if got := r.State(r.now, other.Epoch); got != StateFenced {
		t.Errorf("the other is %v", got)
	}
	if len(r.Instances(r.now)) != 0 {
		t.Error("clients are told of a node that is not heard of")
	}
	m.Revision++
	again := r.register(m)
	if again.Epoch <= a.Epoch || !Lasting(again.Epoch) {
		t.Errorf("it came back as epoch %#x, it was %#x", again.Epoch, a.Epoch)
	}
	m.Claim = Claim{Epoch: other.Epoch}
	r.refused(m, Malformed)
}

func TestARenewalSavesASuspect(t *testing.T) {
	r := newRig(t, Options{})
	a := r.join("a")[0]
	r.wait(19 * time.Second)
	if err := r.Renew(r.now, &Renewal{Owner: a, Load: 9}); err != nil {
		t.Fatal(err)
	}
	r.wait(time.Second)
	got := r.Instances(r.now)
	if len(got) != 1 || got[0].State != StateAlive || got[0].Load != 9 || got[0].Age != time.Second {
		t.Errorf("%+v", got)
	}
	if next := r.Advance(r.now); next != r.now+19*time.Second {
		t.Errorf("to be called in %v, want 19 s", next-r.now)
	}
}

func TestRanksAreDense(t *testing.T) {
	r := newRig(t, Options{})
	all := r.join(names(4)...)
	for _, i := range []int{2, 1} {
		if err := r.Deregister(r.now, &all[i]); err != nil {
			t.Fatal(err)
		}
		if err := r.Deregister(r.now, &all[i]); err != nil {
			t.Fatalf("a copy: %v", err)
		}
	}
	for i, id := range []string{"x", "y", "z"} {
		if got, want := r.register(registrationOf(id)).Rank, []uint32{1, 2, 4}[i]; got != want {
			t.Errorf("%s has rank %d, want %d", id, got, want)
		}
	}
	r.wait(19 * time.Second)
	if got := r.register(registrationOf("w")).Rank; got != 5 {
		t.Errorf("rank %d of one who is not fenced yet was given away", got)
	}
	if err := r.Deregister(r.now, &Owner{Epoch: 9 << 32}); err == nil {
		t.Error("nobody has left")
	}
}

func TestS1_36_ServerIDs(t *testing.T) {
	r := newRig(t, Options{})
	chosen := r.register(registrationOf("a", Service{"infer", 1}, Service{"infer", 2}, Service{"train", 1}))
	same(t, "chosen ids", chosen.Services, []Service{{"infer", 1}, {"infer", 2}, {"train", 1}})
	auto := r.register(registrationOf("b", Service{Name: "infer"}, Service{Name: "infer"}))
	if a, b := auto.Services[0].ID, auto.Services[1].ID; a < FirstAutomatic || a >= b {
		t.Errorf("automatic ids are %d and %d", a, b)
	}
	no := r.refused(registrationOf("c", Service{"infer", 2}), Duplicate)
	if no.Text != `server 2 of "infer" is on node "a"` {
		t.Error(no.Text)
	}
	r.refused(registrationOf("c", Service{"infer", 9}, Service{"infer", 9}), Malformed)
	r.refused(registrationOf("c", Service{"infer", 99 << 32}), Malformed)

	before := r.Version(r.now)
	m := registrationOf("b", Service{"train", 1})
	m.Revision = 2
	r.refused(m, Duplicate)
	if r.Version(r.now) != before {
		t.Error("what was refused has changed something")
	}
	m = registrationOf("a")
	m.Revision = 2
	r.register(m)
	same(t, "what was freed", r.register(registrationOf("c", Service{"infer", 2})).Services, []Service{{"infer", 2}})
}

func TestS1_36_AutomaticIDsStayAndAreNotUsedAgain(t *testing.T) {
	r := newRig(t, Options{})
	m := registrationOf("a", Service{Name: "infer"}, Service{"infer", 7}, Service{Name: "infer"})
	before := r.register(m).Services
	m.Revision = 2
	same(t, "ids after a change by one who has not heard of them", r.register(m).Services, before)
	m.Revision, m.Services = 3, []Service{{Name: "infer"}, before[1]}
	same(t, "ids after one server has gone", r.register(m).Services, before[1:])
	if err := r.Deregister(r.now, &Owner{Epoch: 7<<32 + 1, Secret: secretOf("a")}); err != nil {
		t.Fatal(err)
	}
	if again := r.register(registrationOf("b", Service{Name: "infer"})).Services[0]; again.ID <= before[2].ID {
		t.Errorf("%d comes after %d", again.ID, before[2].ID)
	}
}

func TestS1_48_IDsGrow(t *testing.T) {
	r := newRig(t, Options{})
	last := ""
	for i := range 100 {
		if i%10 == 9 {
			r = r.successor()
		}
		id, err := r.NewID("trainer")
		if err != nil || id <= last {
			t.Fatalf("%q comes after %q: %v", id, last, err)
		}
		last = id
	}
	if last != "trainer-0000001100000001" {
		t.Error(last)
	}
	for _, name := range []string{"", "\xff", string(make([]byte, MaxText)), string(make([]byte, MaxText+1))} {
		id, err := r.NewID(name)
		refusal(t, id, err, Malformed)
	}
}

func TestMalformedRegistrations(t *testing.T) {
	r := newRig(t, Options{})
	long := string(make([]byte, MaxText+1))
	for name, spoil := range map[string]func(*Registration){
		"no id":               func(m *Registration) { m.ID = "" },
		"a long id":           func(m *Registration) { m.ID = long },
		"bad text":            func(m *Registration) { m.ID = "\xff" },
		"a long address":      func(m *Registration) { m.Endpoints.TCP = long },
		"a service's no name": func(m *Registration) { m.Services = []Service{{}} },
		"many services":       func(m *Registration) { m.Services = make([]Service, MaxServices+1) },
		"many locks":          func(m *Registration) { m.Held = make([]Held, MaxHeld+1) },
		"a lock's no name":    func(m *Registration) { m.Held = make([]Held, 1) },
		"a lock's no token":   func(m *Registration) { m.Held = []Held{{Name: "x", Number: 1}} },
		"a high rank":         func(m *Registration) { m.Claim = Claim{MaxNodes, 1} },
	} {
		m := registrationOf("a")
		spoil(m)
		if _, err := r.Register(r.now, m); err == nil {
			t.Errorf("%s was accepted", name)
		}
		r.refused(m, Malformed)
	}
	refusal(t, nil, r.Renew(r.now, &Renewal{}), Malformed)
}

func TestBadOptions(t *testing.T) {
	for _, o := range []Options{{}, {Term: 1, Log: -1}, {Term: 1, Lease: Lease{1, 1, 2}}, {Term: 1, Lease: Lease{1, 2, 2}}, {Term: 1, Lease: Lease{0, 1, 2}}, {Term: 1, Lease: Lease{1, 2, MaxWait + 1}}} {
		if _, err := New(0, o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestCodesHaveWords(t *testing.T) {
	if got := fmt.Sprint(Malformed, Full, Code(99), StateSuspect, State(9), Losing, Phase(9)); got != "malformed full code-99 suspect fenced losing left" {
		t.Error(got)
	}
	if got := refuse(Twin, 0, "it is %s", "there").Error(); got != "twin: it is there" {
		t.Error(got)
	}
}
