package session

import (
	"testing"
	"time"
)

// What an adversary would try: messages that come late by connections that are given
// up, from a server's earlier life, from another server.

// A refusal is not journalled, so the server's next life may run the call. If the
// client then took the old refusal for an answer, it would send the call elsewhere.
func TestC27_ARefusalOfAnEarlierLifeIsNoAnswer(t *testing.T) {
	r, s := one(t, DomainOptions{Journal: true})
	i := s.call(&Invocation{})
	s.deliver()
	s.do(s.domain.Refuse(s.ready[0], nil))
	late := s.down[0]
	s.boot()
	r.do(r.client.Connected(r.now, s.peer, 2, nil)) // it does not know yet that the first is lost
	s.deliver()
	e := s.start()
	s.down = append(s.down, late)
	s.deliverDown()
	if len(r.routed) > 0 {
		t.Fatal("it runs, and is to run elsewhere")
	}
	s.finish(e, "")
	s.deliver()
	i.want(t, OK, Executed)
}

// A Hello that was under way for longer than the session that it opens must not open
// it again: who resumes it would be told that nothing is forgotten.
func TestC27_AHelloThatComesAfterTheLeaseOpensNothing(t *testing.T) {
	r := newRig(t, DomainOptions{}, 1)
	s := r.servers[0]
	r.do(r.client.Connected(r.now, s.peer, 1, nil))
	late := s.up[0]
	s.up = nil
	s.connect(2)
	i := s.call(&Invocation{})
	s.deliver()
	s.finish(s.start(), "")
	s.down = nil
	r.now += 239 * time.Second // the client still thinks that it can be resumed
	r.do(r.client.Disconnected(r.now, s.peer, 2, nil))
	r.do(r.client.Connected(r.now, s.peer, 3, nil))
	r.now += 61 * time.Second
	s.do(s.domain.Tick(r.now, nil))
	s.receive(late)
	s.serve()
	i.want(t, Expired, Indeterminate)
}

// A server may think that a deadline has passed a little before it has. Another one to
// which the call was sent as well may still start it.
func TestC27_ADeadlineThatOneServerSeesPassIsNotPassedAtAnother(t *testing.T) {
	r := newRig(t, DomainOptions{}, 2)
	a, b := r.servers[0], r.servers[1]
	a.connect(1)
	r.do(r.client.Connected(r.now, b.peer, 1, nil))
	b.deliverUp()
	r.now += 500 * time.Millisecond // while the welcome is under way: b seems to be slow
	b.deliverDown()
	i := a.call(&Invocation{Idempotent: true, Deadline: r.now + 4*time.Second})
	a.deliver()
	a.disconnect(1)
	r.tick(3 * time.Second)
	b.call(i)
	b.deliver()
	r.now += 600 * time.Millisecond
	if b.start() != nil {
		t.Fatal("b starts it")
	}
	b.deliver()
	if i.state == finished && a.start() != nil {
		t.Fatalf("it starts although it has ended with %s", i.Outcome.Code)
	}
	r.now = i.Deadline
	r.do(r.client.Cancel(r.now, i, DeadlineExceeded, nil))
	i.want(t, DeadlineExceeded, Indeterminate)
}

// Interrupting a call may kill its worker. That is no crash to try again after.
func TestC27_WhatWasCancelledIsNotRunAgain(t *testing.T) {
	for name, dies := range map[string]func(*testServer, *Entry){
		"its worker is killed": func(s *testServer, e *Entry) { s.do(s.domain.Crash(s.r.now, e, false, nil, nil)) },
		"its worker was dead":  func(s *testServer, e *Entry) { s.do(s.domain.Unstarted(e, nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			r, s := one(t, DomainOptions{})
			i := s.call(&Invocation{Idempotent: true})
			s.deliver()
			e := s.start()
			r.do(r.client.Cancel(r.now, i, Canceled, nil))
			s.deliver()
			dies(s, e)
			s.deliver()
			if len(s.ready) > 0 {
				t.Error("it is to run again")
			}
			if i.state != finished {
				t.Error("its caller is not told")
			}
		})
	}
}

// A call that moves may get the sequence number at its new server that it had at the
// old one. That the old copy was never sent says nothing of the new one.
func TestC27_WhatWasUnsentAtOneServerWasSentToAnother(t *testing.T) {
	r := newRig(t, DomainOptions{}, 2)
	a, b := r.servers[0], r.servers[1]
	a.connect(1)
	b.connect(1)
	i := a.call(&Invocation{Idempotent: true})
	r.do(r.client.Dead(a.peer, false, nil))
	b.call(i)
	b.deliver()
	a.unsent(i)
	b.disconnect(1)
	r.do(r.client.Unreachable(r.now, b.peer, nil))
	if len(r.routed) != 1 {
		t.Error("it moves again at once, although it may run")
	}
}

// A client that gives a session up begins another one at the same server. What it had
// given up with the first must not start after what it has called in the second.
func TestC27_WhatAnEarlierSessionCalledDoesNotStart(t *testing.T) {
	r, s := one(t, DomainOptions{})
	put10 := s.call(&Invocation{})
	s.deliver() // and waits for a worker
	s.disconnect(1)
	r.now += 241 * time.Second
	s.connect(2)
	put10.want(t, Expired, Indeterminate)
	put20 := s.call(&Invocation{})
	if runs := s.serve(); runs != 1 {
		t.Errorf("%d runs", runs)
	}
	put20.want(t, OK, Executed)
}
