package session

import (
	"testing"
	"time"
)

// needing are calls in a row, each of which needs the one before it.
func needing(r *rig, s *testServer, n int) (all []*Invocation) {
	for i := range n {
		call := &Invocation{Sum: uint64(i)}
		if i > 0 {
			call.Needs = []*Promise{r.client.Promise(all[i-1])}
		}
		r.do(r.client.Assign(r.now, call, s.peer, nil))
		all = append(all, call)
	}
	return all
}

// runReady runs what is queued, with what it needs.
func (s *testServer) runReady(code Code) (ran int) {
	for len(s.ready) > 0 {
		e := s.ready[0]
		s.ready = s.ready[1:]
		if e.Needy() {
			results, ok := s.domain.Results(e, nil)
			if !ok {
				s.do(s.domain.Refuse(e, Unmet, nil, nil))
				continue
			}
			e.Supplied(results[0], 0)
		}
		s.do(s.domain.Take(s.r.now, e, nil))
		if start, fx := s.domain.Start(s.r.now, e, nil); !start {
			s.do(fx)
			continue
		}
		ran++
		s.do(s.domain.Return(e, code, append([]byte("."), e.Args...), nil))
	}
	return ran
}

func TestC20_AChainNeedsNoAnswerInBetween(t *testing.T) {
	r, s := one(t, DomainOptions{})
	all := needing(r, s, 40)
	s.deliverUp()
	if ran := s.runReady(OK); ran != 40 {
		t.Fatalf("%d run before anything has gone back", ran)
	}
	s.deliver()
	if last := all[39].Outcome; last.Code != OK || len(last.Reply) != 40 {
		t.Errorf("the last has %v %q", last.Code, last.Reply)
	}
	r.tick(r.client.opt.AckDelay)
	s.deliver()
	if n, bytes := s.domain.Entries(); n != 0 || bytes != 0 || len(s.peer.kept) != 0 {
		t.Errorf("%d calls and %d bytes are kept, %d by the client", n, bytes, len(s.peer.kept))
	}
}

func TestC20_AFailureEndsAllThatNeedIt(t *testing.T) {
	r, s := one(t, DomainOptions{})
	all := needing(r, s, 40)
	s.deliverUp()
	if ran := s.runReady(Failed); ran != 1 {
		t.Fatalf("%d run", ran)
	}
	s.deliver()
	for n, i := range all[1:] {
		if i.Outcome.Code != Unmet && len(r.routed) == 0 || i.Outcome.Execution == Executed {
			t.Errorf("call %d: %v, %v", n+1, i.Outcome.Code, i.Outcome.Execution)
		}
	}
	for _, i := range r.routed { // the client looks for itself
		if i.state == routing {
			r.do(r.client.Await(i, nil))
		}
	}
	for n, i := range all[1:] {
		if i.Outcome.Code != Unmet || i.Outcome.Execution != NotExecuted {
			t.Errorf("call %d: %v, %v", n+1, i.Outcome.Code, i.Outcome.Execution)
		}
	}
}

// A long call is overtaken by a short one that needs it.
func TestACallWaitsForOneThatHasNotCome(t *testing.T) {
	r, s := one(t, DomainOptions{})
	all := needing(r, s, 2)
	s.up[0], s.up[1] = s.up[1], s.up[0]
	s.deliverUp()
	if ran := s.runReady(OK); ran != 2 {
		t.Errorf("%d run", ran)
	}
	s.deliver()
	if all[1].Outcome.Code != OK {
		t.Errorf("%v", all[1].Outcome)
	}
}

// Nobody makes a server keep more than it may.
func TestWhatWaitsForResultsIsBounded(t *testing.T) {
	_, s := one(t, DomainOptions{NeedBytes: 100})
	send := func(m Message) { s.receive(packet{1, m}) }
	send(Message{Kind: Call, Seq: 1})
	for seq := uint64(2); seq < 10; seq++ {
		send(Message{Kind: Call, Seq: seq, Sum: seq, Needs: &Needs{[]uint64{1}}, Body: make([]byte, 30)})
	}
	refused := 0
	for _, p := range s.down {
		if p.m.Kind == Reply && p.m.Code == Refused {
			refused++
		}
	}
	if refused != 5 {
		t.Errorf("%d of 8 calls with 30 bytes each are refused, for 100", refused)
	}
}

func TestACallNeedsNoneThatComesAfterIt(t *testing.T) {
	for name, n := range map[string]*Needs{
		"itself": {[]uint64{5}}, "a later one": {[]uint64{6}}, "none": {}, "call 0": {[]uint64{0}}, "nine": {[]uint64{1, 1, 1, 1, 1, 1, 1, 1, 1}},
	} {
		_, s := one(t, DomainOptions{})
		s.receive(packet{1, Message{Kind: Call, Seq: 5, Needs: n}})
		if len(s.closed) != 1 || len(s.ready) != 0 {
			t.Errorf("%s: %d connections are closed", name, len(s.closed))
		}
	}
}

// What waits for a result is not kept longer than it is wanted.
func TestADeadlineEndsTheWaitForAResult(t *testing.T) {
	r, s := one(t, DomainOptions{})
	s.receive(packet{1, Message{Kind: Call, Seq: 1}})
	s.receive(packet{1, Message{Kind: Call, Seq: 2, Needs: &Needs{[]uint64{1}}, Time: r.now + time.Second}})
	r.now += 2 * time.Second
	s.do(s.domain.Tick(r.now, nil))
	last := s.down[len(s.down)-1].m
	if last.Kind != Reply || last.Seq != 2 || last.Code != DeadlineExceeded || last.Execution != NotExecuted {
		t.Errorf("%+v", last)
	}
}

// A call that its client takes back, because the server's new life knows no references, was
// never there for a later one of its lane, which runs. The life after that knows neither of
// the cancel nor of the lane: it must not get the call again.
func TestACallThatIsTakenBackStaysTakenBackOverRestarts(t *testing.T) {
	r, s := one(t, DomainOptions{Journal: true})
	first := s.call(&Invocation{Sum: 1})
	needing := s.call(&Invocation{Sum: 2, Lane: 1, Idempotent: true, Needs: []*Promise{r.client.Promise(first)}})
	later := s.call(&Invocation{Sum: 3, Lane: 1})
	s.deliverUp()

	s.boot()
	r.client.Refers(s.peer, false)
	r.do(r.client.Connected(r.now, s.peer, 2, nil))
	s.deliverUp()
	s.deliverDown() // Welcome
	s.deliverUp()
	for len(s.ready) > 0 {
		s.finish(s.start(), "done")
	}
	if later.state == finished || len(s.domain.sessions) != 1 {
		t.Fatal("the client has heard of what ran")
	}

	s.boot()
	r.client.Refers(s.peer, true)
	s.connect(3)
	if runs := s.serve(); runs != 0 {
		t.Errorf("%d calls run after the last of their lane", runs)
	}
	first.want(t, OK, Executed)
	later.want(t, OK, Executed)
	if len(r.routed) != 1 || r.routed[0] != needing {
		t.Errorf("%d calls are to be sent with whole arguments", len(r.routed))
	}
}
