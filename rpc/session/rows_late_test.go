package session

import (
	"math"
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
	s.do(s.domain.Refuse(s.ready[0], Refused, nil, nil))
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
	r.do(r.client.Dead(r.now, a.peer, false, nil))
	b.call(i)
	b.deliver()
	a.unsent()
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

// A dead server is fenced, but not the one that the call was at before.
func TestC27_FencedSpeaksOfEveryServerThatHadTheCall(t *testing.T) {
	r := newRig(t, DomainOptions{}, 2)
	a, b := r.servers[0], r.servers[1]
	a.connect(1)
	b.connect(1)
	i := a.call(&Invocation{Idempotent: true})
	a.deliver()
	a.start()
	a.disconnect(1)
	r.tick(3 * time.Second)
	b.call(i)
	b.deliver()
	r.do(r.client.Cancel(r.now, i, Canceled, nil))
	r.do(r.client.Dead(r.now, b.peer, true, nil))
	if i.want(t, Lost, Indeterminate); i.Outcome.Fenced {
		t.Error("it is said that no run goes on, and one does")
	}
}

// A fence that claims to close all numbers there are must not take as many steps, and
// one that is no list closes the connection.
func TestC27_HostileFencesCostNothing(t *testing.T) {
	tests := map[string]struct {
		fence  Fence
		refuse bool
	}{
		"closes everything":   {fence: Fence{Last: math.MaxUint64}},
		"but the last":        {fence: Fence{Last: math.MaxUint64, Open: []uint64{math.MaxUint64}}},
		"not ascending":       {fence: Fence{Last: 1 << 62, Open: []uint64{9, 3, 1 << 61}}, refuse: true},
		"twice the same":      {fence: Fence{Last: 9, Open: []uint64{3, 3}}, refuse: true},
		"open beyond the end": {fence: Fence{Last: 9, Open: []uint64{10}}, refuse: true},
		"more than may be":    {fence: Fence{Last: 9, Open: []uint64{1, 2, 3, 4, 5}}, refuse: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, s := one(t, DomainOptions{Open: 4})
			f := test.fence
			f.Version = 1 << 60
			s.receive(packet{1, Message{Kind: Ack, Ack: 5, Closed: &f}})
			s.receive(packet{1, Message{Kind: Ack, Ack: math.MaxUint64}})
			if refused := len(s.closed) > 0; refused != test.refuse {
				t.Errorf("refused: %t", refused)
			}
		})
	}
}

// The budget of all sessions together holds whoever has used it up.
func TestC27_ManySessionsKeepToTheBudgetOfAll(t *testing.T) {
	d := NewDomain(ID{1}, 1, DomainOptions{DomainBytes: 100})
	for n := range 20 {
		id := ID{byte(n)}
		s, _ := d.Hello(0, Conn(n), &Message{Kind: Hello, Greeting: &Handshake{Session: id}}, nil)
		call := &Message{Kind: Call, Seq: 1}
		e := d.Receive(0, s, Conn(n), call, nil)[0].Entry
		d.Take(0, e, nil)
		d.Start(0, e, nil)
		fx := d.Return(e, OK, make([]byte, 30), nil)
		if m := fx[0].Msg; m.Code != OK || len(m.Body) != 30 {
			t.Errorf("session %d: %s with %d bytes", n, m.Code, len(m.Body))
		}
		fx = d.Receive(0, s, Conn(n), call, nil)
		if m := fx[0].Msg; m.Execution != Executed || (m.Code == OK) != (len(m.Body) == 30) {
			t.Errorf("session %d, again: %s, %s with %d bytes", n, m.Code, m.Execution, len(m.Body))
		}
	}
	if _, bytes := d.Entries(); bytes > 100 {
		t.Errorf("%d bytes are kept", bytes)
	}
}

// A client that ends says so, and nothing is kept for it until its lease ends.
func TestC27_AByeEndsTheSession(t *testing.T) {
	r, s := one(t, DomainOptions{})
	s.call(&Invocation{})
	s.serve()
	r.do(r.client.Bye(r.now, nil))
	s.deliver()
	if s.wantEntries(0); s.domain.Sessions() != 0 {
		t.Error("it is still there")
	}
}

// Numbers that come from the other side have a name, whatever they are.
func TestC27_UnknownNumbersHaveNames(t *testing.T) {
	for n := range 256 {
		if Code(n).String() == "" || Execution(n).String() == "" || Kind(n).String() == "" {
			t.Errorf("%d has none", n)
		}
	}
}

// Only who has opened a session can end it by another.
func TestC27_AStrangerEndsNoSession(t *testing.T) {
	_, s := one(t, DomainOptions{})
	i := s.call(&Invocation{})
	s.deliver()
	s.receive(packet{9, Message{Kind: Hello, Greeting: &Handshake{Session: ID{9}, Former: s.peer.session, Proof: ID{9}}}})
	s.down = nil
	s.serve()
	i.want(t, OK, Executed)
}

// A program that was stopped while it connected has not waited for its server: what is not sent there
// stays, where there is no other, and goes on waiting for as long as the program runs.
func TestC27_TimeInWhichTheProgramStoodStillIsNotTheServers(t *testing.T) {
	tests := map[string]struct {
		still, lived time.Duration
		gone         bool
	}{
		"it stood still":              {still: time.Hour},
		"and then waited for a while": {still: time.Hour, lived: 2800 * time.Millisecond},
		"and then for too long":       {still: time.Hour, lived: 3 * time.Second, gone: true},
		"it was busy":                 {still: time.Second, lived: 2 * time.Second, gone: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, DomainOptions{}, 1)
			r.tick(100 * time.Millisecond)
			i := r.servers[0].call(&Invocation{})
			r.tick(test.still)
			for range test.lived / (100 * time.Millisecond) {
				r.tick(100 * time.Millisecond)
			}
			if gone := len(r.routed) > 0; gone != test.gone {
				t.Fatalf("it is taken away: %v", gone)
			}
			if !test.gone {
				r.servers[0].connect(1)
				r.servers[0].serve()
				i.want(t, OK, Executed)
			}
		})
	}
}
