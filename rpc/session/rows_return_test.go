package session

import (
	"testing"
	"time"
)

// A server leaves the list of servers and comes back, while it lives on with its table. To its
// client it is another peer then: by the same name or not.

// again is the server as another peer of its client.
func (s *testServer) again() *testServer {
	n := &testServer{r: s.r, id: s.id, opt: s.opt, domain: s.domain, bound: s.bound}
	n.peer = s.r.client.Add(n)
	return n
}

// wantNoStart lets a worker be free for all that waits.
func (s *testServer) wantNoStart() {
	s.r.t.Helper()
	for len(s.ready) > 0 {
		if s.start() != nil {
			s.r.t.Error("what has its outcome starts after a later call has come")
		}
	}
}

func TestC8_WhoComesBackStartsNothingOfBefore(t *testing.T) {
	for name, dies := range map[string]func(r *rig, before, now *testServer){
		"before": func(r *rig, before, now *testServer) {
			r.do(r.client.Dead(r.now, before.peer, false, nil))
			now.connect(2)
		},
		"while it is being greeted": func(r *rig, before, now *testServer) {
			r.do(r.client.Connected(r.now, now.peer, 2, nil))
			now.deliverUp()
			r.do(r.client.Dead(r.now, before.peer, false, nil))
			now.deliver()
		},
		"afterwards": func(r *rig, before, now *testServer) {
			now.connect(2)
			r.do(r.client.Dead(r.now, before.peer, false, nil))
		},
	} {
		t.Run("its session is given up "+name, func(t *testing.T) {
			r, before := one(t, DomainOptions{})
			put10 := before.call(&Invocation{})
			before.deliver() // and waits for a worker
			now := before.again()
			dies(r, before, now)
			put10.want(t, Lost, Indeterminate)
			put20 := now.call(&Invocation{})
			now.deliver()
			before.wantNoStart()
			now.serve()
			put20.want(t, OK, Executed)
			if n := now.domain.Sessions(); n != 1 {
				t.Errorf("%d sessions", n)
			}
		})
	}
}

// All sessions of before end, however many there are, and though a connection is lost meanwhile.
func TestC8_WhoComesBackAgainAndAgainStartsNothingOfBefore(t *testing.T) {
	r, first := one(t, DomainOptions{})
	second := first.again()
	second.connect(2)
	for _, s := range []*testServer{first, second} {
		s.call(&Invocation{})
		s.deliver()
	}
	third := second.again()
	r.do(r.client.Dead(r.now, first.peer, false, nil))
	second.up = nil // so it is not told
	r.do(r.client.Dead(r.now, second.peer, false, nil))
	r.do(r.client.Connected(r.now, third.peer, 3, nil))
	third.deliverUp()
	third.deliverDown()
	third.up = nil
	third.disconnect(3)
	put20 := third.call(&Invocation{})
	third.connect(4)
	first.wantNoStart()
	second.wantNoStart()
	third.serve()
	put20.want(t, OK, Executed)
}

// A session of before may go on, as something is open in it. What else was called in it and is
// given up does not start after what is called in the new one.
func TestC8_WhatIsGivenUpBesideANewSessionDoesNotStartAfterIt(t *testing.T) {
	for name, early := range map[string]bool{"given up before": true, "given up afterwards": false} {
		t.Run(name, func(t *testing.T) {
			r, before := one(t, DomainOptions{})
			put10 := before.call(&Invocation{})
			long := before.call(&Invocation{})
			before.deliver()
			now := before.again()
			giveUp := func() {
				r.do(r.client.Cancel(r.now, put10, Canceled, nil))
				r.do(r.client.GiveUp(r.now, put10, nil))
			}
			if early {
				giveUp()
			}
			now.connect(2)
			if !early {
				before.deliver()
				giveUp()
			}
			put20 := now.call(&Invocation{})
			now.deliver()
			if len(now.ready) > 0 {
				t.Error("a later call has come while it may start")
			}
			before.deliver()
			now.deliver()
			for len(before.ready) > 0 {
				if e := before.start(); e != nil {
					before.finish(e, "")
				}
			}
			now.serve()
			before.deliver()
			put10.want(t, Canceled, Indeterminate)
			put20.want(t, OK, Executed)
			long.want(t, OK, Executed)
		})
	}
}

// Nobody waits for ever until a session of before has confirmed what is given up: if it is out of
// reach, it ends.
func TestC8_ASessionOutOfReachDoesNotHoldANewOneUp(t *testing.T) {
	tests := map[string]struct {
		open int // calls in the session of before
		wait time.Duration
	}{
		"nothing is open in it":   {wait: 100 * time.Millisecond},
		"something is open in it": {open: 1, wait: 3 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, before := one(t, DomainOptions{})
			put10 := before.call(&Invocation{})
			for range test.open {
				before.call(&Invocation{})
			}
			before.deliver()
			now := before.again()
			now.connect(2)
			before.disconnect(1)
			r.do(r.client.Cancel(r.now, put10, Canceled, nil))
			r.do(r.client.GiveUp(r.now, put10, nil))
			put20 := now.call(&Invocation{})
			r.tick(test.wait - time.Millisecond)
			now.deliver()
			if test.open > 0 && len(now.ready) > 0 {
				t.Error("a later call has come while it may start")
			}
			r.tick(time.Millisecond)
			now.deliver()
			before.wantNoStart()
			now.serve()
			put20.want(t, OK, Executed)
		})
	}
}

// What is forgotten of former sessions is the oldest.
func TestC8_FormerSessionsAreBounded(t *testing.T) {
	r := newRig(t, DomainOptions{}, 1)
	var s *testServer
	for n := range 2*formersMost + 1 {
		s = &testServer{r: r, id: ID{byte(n), byte(n >> 8), 1}, bound: map[Conn]*Session{}}
		s.peer = r.client.Add(s)
		s.boot()
		s.connect(1)
		r.do(r.client.Dead(r.now, s.peer, false, nil))
	}
	if n := len(r.client.formers); n != formersMost {
		t.Errorf("%d are kept", n)
	}
	now := s.again()
	now.connect(2)
	if n := s.domain.Sessions(); n != 1 {
		t.Errorf("%d sessions, want the last one alone", n)
	}
}
