package registry

import (
	"errors"
	"testing"
	"time"
)

var errAway = errors.New("connection refused")

// agent is a registrar and a hand on its clock.
type agent struct {
	t *testing.T
	*Registrar
	now time.Duration
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	r, err := NewRegistrar(began, RegistrarOptions{ID: "a", Secret: secretOf("a"), Random: func() float64 { return 0.5 }},
		Endpoints{TCP: "a:9190"}, []Service{{Name: "infer"}})
	if err != nil {
		t.Fatal(err)
	}
	return &agent{t, r, began}
}

// step fails unless there is something to do; it goes to that time.
func (a *agent) step() Action {
	a.t.Helper()
	for range 3 {
		do := a.Step(a.now)
		if do.Register != nil || do.Renew != nil || do.Fence {
			return do
		}
		if do.Wake <= a.now || do.Wake == Never {
			a.t.Fatalf("at %v there is nothing to do: %+v", a.now, do)
		}
		a.now = do.Wake
	}
	a.t.Fatal("it wakes for nothing")
	return Action{}
}

func ackOf(term uint64, m *Registration) *Ack {
	c := m.Claim
	if c.Epoch == 0 {
		c = Claim{3, term<<32 + 3}
	}
	services := append([]Service(nil), m.Services...)
	for i := range services {
		services[i].ID = term<<32 + 9
	}
	return &Ack{Rank: c.Rank, Epoch: c.Epoch, Lease: DefaultLease(), Version: term<<32 + 5, Services: services}
}

// registered is an agent that has a lease since now.
func registered(t *testing.T) *agent {
	a := newAgent(t)
	do := a.step()
	a.Confirmed(a.now, do.Attempt, ackOf(7, do.Register))
	return a
}

func TestS1_05_ANodeRegistersAndRenews(t *testing.T) {
	a := newAgent(t)
	do := a.step()
	if m := do.Register; a.now != began || m.ID != "a" || m.Claim != (Claim{}) || m.Services[0].ID != 0 {
		t.Fatalf("%+v", m)
	}
	a.Confirmed(a.now+time.Second, do.Attempt, ackOf(7, do.Register))
	c := a.Condition()
	if c.Phase != Registered || c.Claim != (Claim{3, 7<<32 + 3}) || c.Until != began+15*time.Second {
		t.Fatalf("%+v", c)
	}
	if a.Services()[0].ID != 7<<32+9 {
		t.Errorf("%+v", a.Services())
	}
	a.SetLoad(5)
	for i := range 10 {
		do = a.step()
		if do.Renew == nil || do.Renew.Owner != (Owner{Epoch: 7<<32 + 3, Secret: secretOf("a")}) || do.Renew.Load != 5 {
			t.Fatalf("%+v", do)
		}
		if want := began + time.Duration(i+1)*5*time.Second; a.now != want {
			t.Fatalf("renewal at %v, want %v", a.now, want)
		}
		a.Renewed(a.now, do.Attempt)
	}
}

func TestS1_05_WithoutARegistryItTriesEverMoreSeldom(t *testing.T) {
	a := newAgent(t)
	steps := 0
	var pauses []time.Duration
	for a.now < began+time.Hour {
		steps++
		do := a.step()
		a.Failed(a.now, do.Attempt, errAway)
		pauses = append(pauses, a.Step(a.now).Wake-a.now)
	}
	ms := time.Millisecond
	same(t, "pauses", pauses[:9], []time.Duration{187500 * time.Microsecond, 375 * ms, 750 * ms, 1500 * ms, 3000 * ms, 6000 * ms, 7500 * ms, 7500 * ms, 7500 * ms})
	if steps > 500 {
		t.Errorf("%d attempts in an hour", steps)
	}
	c := a.Condition()
	if c.Phase != Registering || c.Since != began || c.Failures != steps || !errors.Is(c.Cause, errAway) {
		t.Errorf("%+v", c)
	}
}

func TestS1_05_NoAnswerIsAFailure(t *testing.T) {
	a := newAgent(t)
	first := a.step()
	if first.Deadline != began+2500*time.Millisecond {
		t.Errorf("%+v", first)
	}
	second := a.step()
	if a.now <= first.Deadline || second.Attempt == first.Attempt || a.Condition().Failures != 1 {
		t.Fatalf("at %v: %+v", a.now, second)
	}
	a.Confirmed(a.now, first.Attempt, ackOf(7, first.Register))
	if c := a.Condition(); c.Phase != Registering {
		t.Errorf("a late answer counted: %+v", c)
	}
}

func TestC8_ANodeFencesItselfAt15s(t *testing.T) {
	for name, fail := range map[string]func(*agent, Action){
		"refused connections": func(a *agent, do Action) { a.Failed(a.now, do.Attempt, errAway) },
		"silence":             func(*agent, Action) {},
	} {
		t.Run(name, func(t *testing.T) {
			a := registered(t)
			tries := 0
			do := a.step()
			for ; !do.Fence; do = a.step() {
				tries++
				fail(a, do)
			}
			if a.now != began+15*time.Second || tries < 3 || tries > 12 {
				t.Errorf("fenced at %v after %d attempts", a.now-began, tries)
			}
			if again := a.Step(a.now); again != (Action{Wake: Never}) {
				t.Errorf("said twice: %+v", again)
			}
			c := a.Condition()
			if c.Phase != PhaseFenced || c.Cause == nil || c.Claim.Epoch != 0 {
				t.Errorf("%+v", c)
			}
			a.Renewed(a.now, a.attempt)
			a.now += time.Hour
			a.Revive(a.now, secretOf("again"))
			if m := a.step().Register; m == nil || m.Claim.Epoch != 0 || m.Secret != secretOf("again") || a.Condition().Phase != Registering {
				t.Errorf("%+v", m)
			}
		})
	}
}

func TestC8_TheLeaseCountsFromWhenARenewalWasSent(t *testing.T) {
	a := registered(t)
	do := a.step() // at 5 s
	a.now += 2 * time.Second
	a.Renewed(a.now, do.Attempt)
	if c := a.Condition(); c.Until != began+20*time.Second {
		t.Errorf("until %v", c.Until-began)
	}
	a.now = began + 20*time.Second
	do = a.Step(a.now)
	if !do.Fence {
		t.Errorf("%+v", do)
	}
}

func TestC8_AnAnswerAfterTheEndOfTheLeaseDoesNotCount(t *testing.T) {
	a := registered(t)
	do := a.step()
	a.now = began + 15*time.Second // it was frozen
	a.Renewed(a.now, do.Attempt)
	if !a.Step(a.now).Fence {
		t.Error("it did not fence itself")
	}
}

func TestC8_ARegistryThatSaysFencedIsObeyed(t *testing.T) {
	a := registered(t)
	do := a.step()
	a.Failed(a.now, do.Attempt, &Refusal{Code: Fenced, Text: "over"})
	if do = a.Step(a.now); !do.Fence || !errors.Is(a.Condition().Cause, Fenced) {
		t.Errorf("%+v", do)
	}
	b := registered(t)
	_ = b.Update(b.now, Endpoints{}, nil)
	do = b.step()
	other := ackOf(7, do.Register)
	other.Rank++
	b.Confirmed(b.now, do.Attempt, other)
	if !b.Step(b.now).Fence {
		t.Error("it goes on with another rank")
	}
}

func TestANodeRegistersAgainWithANewRegistry(t *testing.T) {
	a := registered(t)
	do := a.step()
	a.Failed(a.now, do.Attempt, &Refusal{Code: Unknown, Text: "who?"})
	at := a.now
	do = a.step()
	if m := do.Register; m == nil || m.Claim != (Claim{3, 7<<32 + 3}) || m.Services[0].ID != 7<<32+9 {
		t.Fatalf("%+v", do)
	}
	if a.now-at != 125*time.Millisecond {
		t.Errorf("after %v; all nodes of the pool do this now", a.now-at)
	}
	if c := a.Condition(); c.Phase != Losing || c.Until != began+15*time.Second {
		t.Errorf("%+v", c)
	}
	a.Confirmed(a.now, do.Attempt, ackOf(8, do.Register))
	if c := a.Condition(); c.Phase != Registered || c.Claim != (Claim{3, 7<<32 + 3}) || c.Until != a.now+15*time.Second {
		t.Errorf("%+v", c)
	}
}

// TestALastingNodeClaimsWhatItHadUntilThatIsOver: it ends nothing without a lease, so a
// registry that starts can have it as what it was; one that has forgotten it cannot.
func TestALastingNodeClaimsWhatItHadUntilThatIsOver(t *testing.T) {
	a := newAgent(t)
	a.opts.Lasting = true
	do := a.step()
	ack := ackOf(7, do.Register)
	ack.Epoch++
	a.Confirmed(a.now, do.Attempt, ack)
	for do = a.step(); !do.Fence; do = a.step() {
		a.Failed(a.now, do.Attempt, errAway)
	}
	a.Revive(a.now, a.opts.Secret)
	do = a.step()
	if want := (Claim{3, 7<<32 + 4}); do.Register.Claim != want || !do.Register.Lapsed {
		t.Errorf("it claims %v, not %v; lapsed: %v", do.Register.Claim, want, do.Register.Lapsed)
	}
	a.Failed(a.now, do.Attempt, errAway)
	do = a.step()
	a.Failed(a.now, do.Attempt, &Refusal{Code: Fenced, Text: "over"})
	if do = a.step(); do.Fence || do.Register.Claim != (Claim{}) || do.Register.Lapsed {
		t.Errorf("after it was refused: %+v", do)
	}
}

// TestC27_TheTrackerIsDownForAnHour: a lasting node tries now and then, and ends nothing but its locks; who follows
// knows it all the time; and the next registry has it as what it was.
func TestC27_TheTrackerIsDownForAnHour(t *testing.T) {
	r := newRig(t, Options{})
	a := newAgent(t)
	a.opts.Lasting = true
	do := a.step()
	was := r.register(do.Register)
	a.Confirmed(a.now, do.Attempt, was)
	v := NewView()
	r.follow(v)
	fences, tries := 0, 0
	for end := a.now + time.Hour; a.now < end; {
		if do = a.step(); do.Fence {
			fences++
			a.Revive(a.now, a.opts.Secret)
			continue
		}
		tries++
		a.Failed(a.now, do.Attempt, errAway)
	}
	if fences != 1 || tries < 3600/10 || tries > 3600 {
		t.Errorf("it has tried %d times, and ended its locks %d times", tries, fences)
	}
	r.now = a.now
	r = r.successor()
	var is *Ack
	for began := a.now; is == nil; {
		do = a.step()
		r.now = a.now
		r.Advance(r.now)
		r.follow(v)
		if n := len(v.Service("infer")); n != 1 || a.now > began+time.Minute {
			t.Fatalf("%v after the next registry has begun %d servers are known", a.now-began, n)
		}
		var err error
		if is, err = r.Register(r.now, do.Register); err != nil { // others may come back first
			a.Failed(a.now, do.Attempt, err)
		}
	}
	if is.Epoch != was.Epoch || is.Rank != was.Rank || is.Services[0] != was.Services[0] {
		t.Errorf("it is %+v, and was %+v", is, was)
	}
	r.follow(v)
	if s := v.Service("infer"); len(s) != 1 || s[0].Node.Epoch != was.Epoch {
		t.Errorf("then there is %+v", s)
	}
}

func TestARefusalSaysWhenToComeAgain(t *testing.T) {
	a := newAgent(t)
	do := a.step()
	a.Failed(a.now, do.Attempt, &Refusal{Code: Settling, Text: "wait", Retry: 18 * time.Second})
	if a.step(); a.now != began+18125*time.Millisecond {
		t.Errorf("again after %v", a.now-began)
	}
	if c := a.Condition(); !errors.Is(c.Cause, Settling) || c.Phase != Registering {
		t.Errorf("%+v", c)
	}
}

func TestAChangeIsToldAtOnce(t *testing.T) {
	a := registered(t)
	a.now += time.Second
	if err := a.Update(a.now, Endpoints{TCP: "b:1"}, append(a.Services(), Service{Name: "train", ID: 1})); err != nil {
		t.Fatal(err)
	}
	do := a.Step(a.now)
	if m := do.Register; m == nil || m.Endpoints.TCP != "b:1" || len(m.Services) != 2 || m.Revision < 2 {
		t.Fatalf("%+v", do)
	}
	_ = a.Update(a.now, Endpoints{TCP: "c:1"}, nil) // while the first is on its way
	a.Confirmed(a.now, do.Attempt, ackOf(7, do.Register))
	do = a.Step(a.now)
	if m := do.Register; m == nil || m.Endpoints.TCP != "c:1" || len(m.Services) != 0 {
		t.Fatalf("%+v", do)
	}
	a.Confirmed(a.now, do.Attempt, ackOf(7, do.Register))
	if do = a.step(); do.Renew == nil {
		t.Errorf("%+v", do)
	}
	if err := a.Update(a.now, Endpoints{}, []Service{{}}); err == nil || a.endpoints.TCP != "c:1" {
		t.Errorf("a bad change was taken: %v", err)
	}
}

func TestARefusedChangeDoesNotCostTheLease(t *testing.T) {
	a := registered(t)
	_ = a.Update(a.now, Endpoints{}, []Service{{"train", 1}})
	do := a.step()
	a.Failed(a.now, do.Attempt, &Refusal{Code: Duplicate, Text: "there is one"})
	for range 10 {
		if do = a.step(); do.Renew == nil {
			t.Fatalf("%+v", do)
		}
		a.Renewed(a.now, do.Attempt)
	}
	if c := a.Condition(); c.Phase != Registered || !errors.Is(c.Refusal, Duplicate) {
		t.Errorf("%+v", c)
	}
	_ = a.Update(a.now, Endpoints{}, []Service{{"train", 2}})
	if do = a.step(); do.Register == nil || a.Condition().Refusal != nil {
		t.Errorf("%+v", do)
	}
}

func TestANodeLeaves(t *testing.T) {
	a := registered(t)
	if o, has := a.Leave(a.now); !has || o != (Owner{Epoch: 7<<32 + 3, Secret: secretOf("a")}) {
		t.Errorf("%+v, %v", o, has)
	}
	if do := a.Step(a.now + time.Hour); do != (Action{Wake: Never}) || a.Condition().Phase != PhaseLeft {
		t.Errorf("%+v", do)
	}
	b := newAgent(t)
	if o, has := b.Leave(b.now); has {
		t.Errorf("%+v", o)
	}
}

func TestLocksOfARegistrar(t *testing.T) {
	const epoch = 7<<32 + 3
	x, y := Held{"x", 1, 7<<32 + 1}, Held{"y", 2, 7<<32 + 2}
	relocate := func(a *agent) Action {
		do := a.step()
		a.Failed(a.now, do.Attempt, &Refusal{Code: Unknown, Text: "who?"})
		return a.step()
	}
	t.Run("are claimed of a new registry", func(t *testing.T) {
		a := registered(t)
		for _, h := range []Held{x, x, y} {
			if !a.Hold(a.now, epoch, h) {
				t.Fatalf("%+v was not taken", h)
			}
		}
		a.Drop("y")
		do := relocate(a)
		same(t, "claimed", do.Register.Held, []Held{x})
		ack := ackOf(8, do.Register)
		ack.Lost = []Held{x}
		same(t, "lost", a.Confirmed(a.now, do.Attempt, ack), []Held{x})
		if len(a.held) != 0 {
			t.Error("still held")
		}
	})
	t.Run("are lost if the new one was not told of them", func(t *testing.T) {
		a := registered(t)
		do := relocate(a)
		if !a.Hold(a.now, epoch, x) { // told late, by the old one
			t.Fatal("not taken")
		}
		same(t, "lost", a.Confirmed(a.now, do.Attempt, ackOf(8, do.Register)), []Held{x})
		if a.Hold(a.now, epoch, y) {
			t.Error("a grant of the old one was taken")
		}
		if !a.Hold(a.now, epoch, Held{"y", 3, 8<<32 + 1}) {
			t.Error("a grant of the new one was not")
		}
	})
	t.Run("are taken back if they were dropped meanwhile", func(t *testing.T) {
		a := registered(t)
		a.Hold(a.now, epoch, x)
		do := relocate(a)
		a.Drop("x")
		a.Confirmed(a.now, do.Attempt, ackOf(8, do.Register))
		do = a.Step(a.now)
		if do.Register == nil || len(do.Register.Held) != 0 {
			t.Fatalf("%+v", do)
		}
		a.Confirmed(a.now, do.Attempt, ackOf(8, do.Register))
		if do = a.step(); do.Renew == nil {
			t.Errorf("%+v", do)
		}
	})
	t.Run("are not taken without a lease, or too many", func(t *testing.T) {
		a := registered(t)
		if a.Hold(a.now, epoch+1, x) || a.Hold(began+15*time.Second, epoch, x) || newAgent(t).Hold(began, epoch, x) {
			t.Error("taken")
		}
		for i := range uint64(MaxHeld) {
			a.Hold(a.now, epoch, Held{"z", i + 1, 7<<32 + i + 1})
		}
		if a.Hold(a.now, epoch, x) {
			t.Error("one too many was taken")
		}
	})
}

func TestABadConfirmationIsAFailure(t *testing.T) {
	a := newAgent(t)
	do := a.step()
	a.Confirmed(a.now, do.Attempt, &Ack{})
	if c := a.Condition(); c.Failures != 1 || c.Phase != Registering {
		t.Errorf("%+v", c)
	}
}

func TestBadRegistrarOptions(t *testing.T) {
	half := func() float64 { return 0.5 }
	for _, o := range []RegistrarOptions{
		{ID: "a"}, {Random: half}, {ID: "a", Random: half, First: -1}, {ID: "a", Random: half, Most: 1}, {ID: "a", Random: half, Timeout: -1},
	} {
		if _, err := NewRegistrar(0, o, Endpoints{}, nil); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
	if _, err := NewRegistrar(0, RegistrarOptions{ID: "a", Random: half}, Endpoints{}, []Service{{}}); err == nil {
		t.Error("a service without a name was accepted")
	}
}
