package registry

import (
	"testing"
	"time"
)

// claimOf is what a node says to the registry after the one that gave ack.
func claimOf(id string, ack *Ack, held ...Held) *Registration {
	m := registrationOf(id, ack.Services...)
	m.Revision, m.Claim, m.Held = 2, Claim{ack.Rank, ack.Epoch}, held
	return m
}

func TestNodesKeepRankAndEpochOverARestart(t *testing.T) {
	r := newRig(t, Options{})
	a := r.register(registrationOf("a", Service{Name: "infer"}))
	b := r.register(registrationOf("b", Service{Name: "infer"}))
	r.wait(time.Minute)
	r = r.successor()
	refusal(t, nil, r.Renew(r.now, &Renewal{Owner: Owner{Epoch: a.Epoch, Secret: secretOf("a")}}), Unknown)
	if s := r.State(r.now, b.Epoch); s != StateUnknown {
		t.Errorf("b is %v before it can have come back", s)
	}
	again := r.register(claimOf("b", b))
	if again.Rank != 1 || again.Epoch != b.Epoch || again.Services[0] != b.Services[0] {
		t.Errorf("b has %+v, and had %+v", again, b)
	}
	no := r.refused(registrationOf("new"), Settling)
	if no.Retry != 20*time.Second {
		t.Errorf("a newcomer may come after %v", no.Retry)
	}
	r.wait(19 * time.Second)
	r.renew(Owner{Epoch: b.Epoch, Secret: secretOf("b")})
	r.wait(time.Second)
	if s := r.State(r.now, a.Epoch); s != StateFenced {
		t.Errorf("a has not come back, and is %v", s)
	}
	r.refused(claimOf("a", a), Fenced)
	refusal(t, nil, r.Renew(r.now, &Renewal{Owner: Owner{Epoch: a.Epoch, Secret: secretOf("a")}}), Fenced)
	if ack := r.register(registrationOf("new")); ack.Rank != 0 || ack.Epoch != 8<<32+1 {
		t.Errorf("the newcomer has %+v", ack)
	}
}

func TestAClaimOfWhatIsNotFreeIsFenced(t *testing.T) {
	r := newRig(t, Options{})
	a := r.register(registrationOf("a"))
	for name, c := range map[string]struct {
		id    string
		claim Claim
	}{
		"another epoch of a node that is there": {"a", Claim{0, a.Epoch - 2}},
		"an epoch of this registry":             {"b", Claim{1, a.Epoch + 2}},
		"a rank that another has":               {"b", Claim{0, 6<<32 + 1}},
	} {
		m := registrationOf(c.id)
		m.Revision, m.Claim = 9, c.claim
		if _, err := r.Register(r.now, m); err == nil {
			t.Errorf("%s was accepted", name)
		}
		r.refused(m, Fenced)
	}
	next := r.successor()
	next.register(claimOf("a", a))
	thief := claimOf("b", a)
	thief.Claim.Rank = 3
	next.refused(thief, Fenced) // the epoch is a's
}

// TestALapsedClaimGivesWayToTheRanksNextOwner: a lasting node claims what it had although its
// lease is over, and the registry before may have given its rank to another since.
func TestALapsedClaimGivesWayToTheRanksNextOwner(t *testing.T) {
	r := newRig(t, Options{})
	lasting := registrationOf("a")
	lasting.Lasting = true
	a := r.register(lasting)
	r.wait(time.Minute) // nothing is heard of a
	b := r.register(registrationOf("b"))
	if b.Rank != a.Rank {
		t.Fatalf("b has rank %d, a had %d", b.Rank, a.Rank)
	}
	again := claimOf("a", a)
	again.Lasting, again.Lapsed = true, true
	r = r.successor()
	if no := r.refused(again, Settling); no.Retry != DefaultLease().Renew {
		t.Errorf("it is to ask again in %v", no.Retry)
	}
	if all := r.Instances(r.now); len(all) != 1 || all[0].Epoch != a.Epoch {
		t.Errorf("while nobody else has come back there is %+v", all)
	}
	if ack := r.register(claimOf("b", b)); ack.Rank != b.Rank || ack.Epoch != b.Epoch {
		t.Errorf("b has %+v, and had %+v", ack, b)
	}
	r.refused(again, Fenced)

	r = r.successor()
	r.refused(again, Settling)
	r.wait(DefaultLease().Fence - 1)
	r.refused(again, Settling)
	r.wait(1)
	again.Revision++
	if ack := r.register(again); ack.Rank != a.Rank || ack.Epoch != a.Epoch {
		t.Errorf("b is not there any more, and a has %+v, and had %+v", ack, a)
	}
}

func TestOfTwoLapsedClaimsTheNewerOneCounts(t *testing.T) {
	r := newRig(t, Options{})
	claim := func(id string, epoch uint64) *Registration {
		m := registrationOf(id)
		m.Claim, m.Lasting, m.Lapsed = Claim{Rank: 3, Epoch: epoch}, true, true
		return m
	}
	r = r.successor()
	r.refused(claim("a", 7<<32+4), Settling)
	r.refused(claim("b", 7<<32+6), Settling)
	r.refused(claim("a", 7<<32+4), Fenced)
	if at := r.at(3); at == nil || at.node.ID != "b" {
		t.Errorf("rank 3 has %+v", at)
	}
	fencing := registrationOf("c")
	fencing.Claim, fencing.Lapsed = Claim{Epoch: 7<<32 + 1}, true
	r.refused(fencing, Malformed)
}

// TestWhoDoesNotKnowOfItsLocksHasNone: a lasting node whose lease has lapsed, and an instance
// that goes on in another process.
func TestWhoDoesNotKnowOfItsLocksHasNone(t *testing.T) {
	for name, forget := range map[string]func(*Registration, *Ack){
		"the lease has lapsed":   func(m *Registration, a *Ack) { m.Claim, m.Lapsed = Claim{a.Rank, a.Epoch}, true },
		"the process is another": func(m *Registration, _ *Ack) { m.Revision = 1<<32 + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			m := registrationOf("a")
			m.Lasting = true
			a, other := r.register(m), r.join("b")[0]
			r.lock("x", Owner{Epoch: a.Epoch, Secret: m.Secret}, 1)
			r.ask("x", other, 1)
			m.Revision++
			forget(m, a)
			r.register(m)
			if news := r.News(r.now); len(news) != 1 || news[0].Epoch != other.Epoch || news[0].Progress != Granted {
				t.Errorf("news: %+v", news)
			}
		})
	}
}

// TestAnEarlierProcessHasNoSay: what it sent last comes when the next one is registered already.
func TestAnEarlierProcessHasNoSay(t *testing.T) {
	r := newRig(t, Options{})
	m := registrationOf("a")
	was := Owner{Epoch: r.register(m).Epoch, Secret: m.Secret}
	m.Revision = 2<<32 + 1
	now := Owner{Epoch: r.register(m).Epoch, Secret: m.Secret, Life: 2}
	refusal(t, nil, r.Deregister(r.now, &was), Twin)
	refusal(t, nil, r.Renew(r.now, &Renewal{Owner: was}), Twin)
	_, err := r.Lock(r.now, &Request{Owner: was, Number: 1, Name: "x"})
	refusal(t, nil, err, Twin)
	r.renew(now)
	if now.Epoch != was.Epoch {
		t.Errorf("epoch %#x became %#x", was.Epoch, now.Epoch)
	}
}

// TestACopyOfARegistrationIsNone: it came to the next registry, but its node has heard the first
// one's answer, and could not tell that registry's grants from those of the one that is lost.
func TestACopyOfARegistrationIsNone(t *testing.T) {
	r := newRig(t, Options{})
	a := r.register(registrationOf("a"))
	m := &Renewal{Owner: Owner{Epoch: a.Epoch, Secret: secretOf("a")}, Term: uint32(term(a.Version))}
	if err := r.Renew(r.now, m); err != nil {
		t.Fatal(err)
	}
	r = r.successor()
	r.register(claimOf("a", a))
	refusal(t, nil, r.Renew(r.now, m), Unknown)
}

func TestALockOutlivesTheRegistry(t *testing.T) {
	r := newRig(t, Options{})
	a, b := r.register(registrationOf("a")), r.register(registrationOf("b"))
	r.join("c")
	owner := func(id string, ack *Ack) Owner { return Owner{Epoch: ack.Epoch, Secret: secretOf(id)} }
	held := r.lock("x", owner("a", a), 4)
	r = r.successor()
	r.register(claimOf("b", b))
	if o := r.ask("x", owner("b", b), 1); o.Progress != Waiting {
		t.Fatalf("a lock was granted that may be held: %+v", o)
	}
	h := Held{"x", 4, held.Token}
	lie := Held{"y", 5, 8<<32 + 1}
	ack := r.register(claimOf("a", a, h, lie))
	same(t, "lost locks", ack.Lost, []Held{lie})
	r.wait(19 * time.Second)
	r.renew(owner("a", a))
	r.renew(owner("b", b))
	r.wait(time.Second)
	if news := r.News(r.now); len(news) != 0 {
		t.Fatalf("%+v", news)
	}
	if o := r.ask("x", owner("a", a), 4); o.Progress != Granted || o.Token != h.Token {
		t.Errorf("a asks again: %+v", o)
	}
	r.release(owner("a", a), 4)
	if o := r.ask("x", owner("b", b), 1); o.Progress != Granted || o.Token <= h.Token {
		t.Errorf("b has %+v, a had %#x", o, h.Token)
	}
}

func TestALockThatIsNotClaimedIsFreeWhenTheRegistryHasSettled(t *testing.T) {
	r := newRig(t, Options{})
	a, b := r.register(registrationOf("a")), r.register(registrationOf("b"))
	r.lock("x", Owner{Epoch: a.Epoch, Secret: secretOf("a")}, 1)
	r = r.successor()
	r.register(claimOf("b", b))
	r.ask("x", Owner{Epoch: b.Epoch, Secret: secretOf("b")}, 1)
	r.wait(10 * time.Second)
	r.renew(Owner{Epoch: b.Epoch, Secret: secretOf("b")})
	if next := r.Advance(r.now); next != r.now+10*time.Second {
		t.Errorf("to be called in %v", next-r.now)
	}
	r.wait(10 * time.Second)
	same(t, "news", r.News(r.now), []Outcome{{b.Epoch, 1, Granted, 8<<32 + 1}})
	late := claimOf("b", b, Held{"z", 7, 7<<32 + 9})
	late.Revision = 3
	if ack := r.register(late); len(ack.Lost) != 1 {
		t.Error("a lock was given back after the others were granted")
	}
}

// A copy of a registration claims a lock that its node has given back since.
func TestALockThatWasGivenBackIsNotKept(t *testing.T) {
	r := newRig(t, Options{})
	a := r.register(registrationOf("a"))
	held := r.lock("x", Owner{Epoch: a.Epoch, Secret: secretOf("a")}, 1)
	r = r.successor()
	old := claimOf("a", a, Held{"x", 1, held.Token})
	r.register(old)
	now := claimOf("a", a)
	now.Revision = 3
	r.register(now)
	if len(r.locks) != 0 {
		t.Error("the lock is held")
	}
	r.register(old)
	if len(r.locks) != 0 {
		t.Error("a copy that came late took the lock again")
	}
}

func TestAnEndedEpochIsForgotten(t *testing.T) {
	r := newRig(t, Options{Log: 8})
	for range 1000 {
		o := r.join("a")[0]
		if err := r.Deregister(r.now, &o); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.byID)+len(r.byEpoch)+len(r.servers)+r.leases.Len() != 0 || len(r.changes.log) > 16 || r.Digest() != (Digest{}) {
		t.Errorf("something is left: %d changes, digest %x", len(r.changes.log), r.Digest())
	}
}
