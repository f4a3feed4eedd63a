package session

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The lecture's hazard: put 10 is given up, put 20 succeeds, put 10 arrives.
func TestS3_12_WhatWasGivenUpDoesNotStartAfterALaterCall(t *testing.T) {
	r, s := one(t, DomainOptions{})
	pin := s.call(&Invocation{}) // keeps the watermark below what follows
	s.deliver()
	running := s.start()
	put10 := s.call(&Invocation{})
	late := s.up[0]
	s.up = nil
	s.disconnect(1)
	r.do(r.client.Cancel(r.now, put10, Canceled, nil))
	r.do(r.client.GiveUp(r.now, put10, nil))
	put10.want(t, Canceled, Indeterminate)
	s.connect(2)
	put20 := s.call(&Invocation{})
	if runs := s.serve(); runs != 1 {
		t.Errorf("%d runs", runs)
	}
	put20.want(t, OK, Executed)
	s.receive(late)
	if len(s.ready) > 0 || s.domain.Counts.Stale != 1 {
		t.Errorf("put 10 is to run")
	}
	s.finish(running, "")
	s.deliver()
	pin.want(t, OK, Executed)
}

// The list of what is open goes with every call until the server has confirmed it,
// so it does not matter if a message of its own is lost.
func TestS3_12_AnAbandonmentThatIsLostComesWithTheNextCall(t *testing.T) {
	r, s := one(t, DomainOptions{})
	s.call(&Invocation{})
	s.deliver()
	given := s.call(&Invocation{})
	late := s.up[0]
	s.up = nil
	r.do(r.client.Cancel(r.now, given, Canceled, nil))
	r.do(r.client.GiveUp(r.now, given, nil))
	s.up = nil // both are delayed
	s.call(&Invocation{})
	if s.up[0].m.Closed == nil {
		t.Fatal("the call does not say what is closed")
	}
	s.deliver()
	s.receive(late)
	if len(s.ready) != 2 {
		t.Errorf("%d are to run, want the first and the last", len(s.ready))
	}
	s.call(&Invocation{})
	if s.up[0].m.Closed != nil {
		t.Error("it is confirmed, and said again")
	}
}

func TestC27_CancelOvertakesItsCall(t *testing.T) {
	r, s := one(t, DomainOptions{})
	i := s.call(&Invocation{})
	late := s.up[0]
	s.up = nil
	s.disconnect(1)
	r.do(r.client.Cancel(r.now, i, Canceled, nil))
	s.connect(2)
	i.want(t, Canceled, NotExecuted)
	s.receive(late)
	if len(s.ready) > 0 {
		t.Error("it is to run")
	}
	if s.down[0].m.Execution != NotExecuted {
		t.Error("and the copy is not told so")
	}
}

func TestC11_ALaneRunsOneCallAfterTheOther(t *testing.T) {
	_, s := one(t, DomainOptions{})
	a1, b1, a2 := s.call(&Invocation{Lane: 1}), s.call(&Invocation{Lane: 2}), s.call(&Invocation{Lane: 1})
	s.deliver()
	if len(s.ready) != 2 {
		t.Fatalf("%d are ready", len(s.ready))
	}
	s.finish(s.start(), "")
	if len(s.ready) != 2 {
		t.Errorf("%d are ready", len(s.ready))
	}
	s.serve()
	for _, i := range []*Invocation{a1, b1, a2} {
		i.want(t, OK, Executed)
	}
}

func TestC11_ALaneWaitsForWhatHasNotCome(t *testing.T) {
	_, s := one(t, DomainOptions{})
	s.call(&Invocation{Lane: 1})
	s.call(&Invocation{Lane: 1})
	s.receive(s.up[1])
	if len(s.ready) > 0 {
		t.Fatal("the second is to run before the first has come")
	}
	s.receive(s.up[0])
	if len(s.ready) != 1 || s.ready[0].XID().Seq != 1 {
		t.Fatalf("%d are ready", len(s.ready))
	}
}

func TestC11_ALaneDoesNotWaitForWhatIsClosed(t *testing.T) {
	r, s := one(t, DomainOptions{})
	gone, next := s.call(&Invocation{Lane: 1}), s.call(&Invocation{Lane: 1})
	s.receive(s.up[1])
	s.up = nil
	r.do(r.client.Cancel(r.now, gone, Canceled, nil))
	s.up = nil // lost too
	r.do(r.client.GiveUp(r.now, gone, nil))
	s.serve()
	next.want(t, OK, Executed)
}

func TestC11_ALaneWaitsForAnAbandonedCallThatRuns(t *testing.T) {
	r, s := one(t, DomainOptions{})
	given, next := s.call(&Invocation{Lane: 1}), s.call(&Invocation{Lane: 1})
	s.deliver()
	running := s.start()
	r.do(r.client.Cancel(r.now, given, Canceled, nil))
	r.do(r.client.GiveUp(r.now, given, nil))
	s.deliver()
	if len(s.ready) > 0 {
		t.Fatal("they overlap")
	}
	if len(s.interrupted) == 0 {
		t.Error("it is not interrupted")
	}
	s.finish(running, "")
	s.serve()
	next.want(t, OK, Executed)
	s.wantEntries(1)
}

// An idempotent call must not run again after a later call of its lane has run.
func TestC11_ALaneKeepsItsOrderOverARestart(t *testing.T) {
	_, s := one(t, DomainOptions{Journal: true})
	put10 := s.call(&Invocation{Lane: 1, Idempotent: true})
	put20 := s.call(&Invocation{Lane: 1, Idempotent: true})
	s.deliver()
	s.finish(s.start(), "10")
	s.finish(s.start(), "20")
	s.boot()
	s.disconnect(1)
	s.connect(2)
	if runs := s.serve(); runs != 0 {
		t.Errorf("%d runs again", runs)
	}
	if string(put10.Outcome.Reply) != "10" || string(put20.Outcome.Reply) != "20" {
		t.Errorf("%q, %q", put10.Outcome.Reply, put20.Outcome.Reply)
	}
}

// Nor may one that was refused, if its client has not heard of that.
func TestC11_ARefusalInALaneOutlastsARestart(t *testing.T) {
	_, s := one(t, DomainOptions{Journal: true})
	put10, put20 := s.call(&Invocation{Lane: 1}), s.call(&Invocation{Lane: 1})
	s.deliver()
	s.do(s.domain.Refuse(s.ready[0], Refused, nil, nil))
	s.ready = s.ready[1:]
	s.finish(s.start(), "20")
	s.boot()
	s.disconnect(1)
	s.connect(2)
	if len(s.ready) != 0 || put10.state != routing {
		t.Errorf("%d calls are to run", len(s.ready))
	}
	put20.want(t, OK, Executed)
}

func TestWindowIsASortedMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window[uint64]
		model := map[uint64]*uint64{}
		base := rapid.Uint64Range(1, 1000).Draw(t, "base")
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			seq := base + rapid.Uint64Range(0, 80).Draw(t, "seq")
			if model[seq] == nil {
				model[seq] = &seq
				w.put(seq, &seq)
			} else {
				delete(model, seq)
				w.del(seq)
			}
			if rapid.IntRange(0, 9).Draw(t, "move") == 0 {
				base += 5
			}
			var keys, got []uint64
			for key := range model {
				keys = append(keys, key)
			}
			slices.Sort(keys)
			w.all(func(seq uint64, v *uint64) {
				if *v != seq {
					t.Fatalf("%d holds %d", seq, *v)
				}
				got = append(got, seq)
			})
			if !slices.Equal(got, keys) || w.live != len(keys) {
				t.Fatalf("%v, want %v", got, keys)
			}
			if len(keys) > 0 && w.first() != keys[0] {
				t.Fatalf("first is %d of %v", w.first(), keys)
			}
			for probe := base; probe < base+90; probe++ {
				if w.get(probe) != model[probe] {
					t.Fatalf("get %d of %v", probe, keys)
				}
			}
		}
	})
}

// Fences come by several connections: an older one that comes later opens nothing.
func TestC27_FencesMayComeInAnyOrder(t *testing.T) {
	r, s := one(t, DomainOptions{})
	s.call(&Invocation{}) // pins the watermark
	s.deliver()
	first, second := s.call(&Invocation{}), s.call(&Invocation{})
	late := s.up[1]
	s.up = nil
	var fences []packet
	for _, i := range []*Invocation{first, second} {
		r.do(r.client.Cancel(r.now, i, Canceled, nil))
		s.up = nil // lost
		r.do(r.client.GiveUp(r.now, i, nil))
		fences = append(fences, s.up...)
		s.up = nil
	}
	for i := len(fences) - 1; i >= 0; i-- {
		s.receive(fences[i])
	}
	s.receive(late)
	if len(s.ready) != 1 {
		t.Errorf("%d are to run, want the first", len(s.ready))
	}
}

// Whoever waits for its turn to be sent can leave at once, however many wait.
func TestC27_ManyCallsAreCancelledAtOnce(t *testing.T) {
	r, s := one(t, DomainOptions{})
	calls := make([]Invocation, 100_000)
	for i := range calls {
		s.call(&calls[i])
	}
	s.up = nil
	for i := range calls { // the last ones first: nothing takes the place of what is cancelled
		i = len(calls) - 1 - i
		r.do(r.client.Cancel(r.now, &calls[i], Canceled, nil))
		r.do(r.client.GiveUp(r.now, &calls[i], nil))
	}
	unsent := 0
	for i := range calls {
		if calls[i].Outcome.Execution == NotExecuted {
			unsent++
		}
	}
	if len(r.finished) != len(calls) || unsent != len(calls)-512 {
		t.Errorf("%d ended, %d of them NotExecuted", len(r.finished), unsent)
	}
}
