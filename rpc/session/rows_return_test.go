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

// A session begins after another one of its client has ended, in which a call of a lane runs on. The
// lane waits for that, and nothing else does.
func TestC11_ALaneWaitsForWhatRunsOfASessionOfBefore(t *testing.T) {
	dead := func(s *testServer) { s.r.do(s.r.client.Dead(s.r.now, s.peer, false, nil)) }
	expire := func(s *testServer) {
		s.r.now += time.Minute
		s.do(s.domain.Tick(s.r.now, nil))
	}
	again := func(s *testServer, conn Conn) *testServer {
		dead(s)
		now := s.again()
		now.connect(conn)
		return now
	}
	tests := map[string]func(r *rig, before *testServer) *testServer{
		"its server is there by another name": func(_ *rig, before *testServer) *testServer {
			return again(before, 2)
		},
		"the server has forgotten it": func(_ *rig, before *testServer) *testServer {
			expire(before)
			before.disconnect(1)
			before.connect(2)
			return before
		},
		"its client was out of touch for too long": func(r *rig, before *testServer) *testServer {
			r.now += 4 * time.Minute
			before.disconnect(1)
			before.connect(2)
			return before
		},
		"the one after it has ended, too": func(_ *rig, before *testServer) *testServer {
			return again(again(before, 2), 3)
		},
		"the server has forgotten the one after it, too": func(_ *rig, before *testServer) *testServer {
			after := again(before, 2)
			expire(after)
			return again(after, 3)
		},
		"the one after it was not welcomed": func(r *rig, before *testServer) *testServer {
			dead(before)
			now := before.again()
			r.do(r.client.Connected(r.now, now.peer, 2, nil))
			now.deliverUp()
			now.down = nil
			now.disconnect(2)
			now.connect(3)
			return now
		},
		"the one after it began beside it": func(_ *rig, before *testServer) *testServer {
			now := before.again()
			now.connect(2)
			dead(before)
			now.deliver()
			return now
		},
	}
	for name, ends := range tests {
		t.Run(name, func(t *testing.T) {
			r, before := one(t, DomainOptions{Lease: 30 * time.Second})
			put10 := before.call(&Invocation{Lane: 1})
			before.deliver()
			running := before.start()
			now := ends(r, before)
			if put10.state != finished || put10.Outcome.Execution != Indeterminate {
				t.Errorf("the client still waits for what it has left: %v", put10.Outcome)
			}
			first := now.call(&Invocation{Idempotent: true})
			put20 := now.call(&Invocation{Lane: 1, Needs: []*Promise{r.client.Promise(first)}})
			other := now.call(&Invocation{Lane: 2})
			if runs := now.serve(); runs != 2 {
				t.Errorf("%d runs, want the two that are not in that lane", runs)
			}
			other.want(t, OK, Executed)
			now.finish(running, "10")
			if runs := now.serve(); runs != 1 {
				t.Errorf("%d runs after that", runs)
			}
			put20.want(t, OK, Executed)
			if n := now.domain.Left(); n != 0 {
				t.Errorf("%d sessions are kept that have ended", n)
			}
		})
	}
}

// A session that goes on beside a new one ends for nobody, so the server does not know that both are
// of one client, and that does not hear when what it has given up ends there: lanes of the two do not
// wait for each other.
func TestC11_LanesOfSessionsBesideEachOtherDoNotWait(t *testing.T) {
	_, before := one(t, DomainOptions{})
	before.call(&Invocation{Lane: 1})
	before.deliver()
	before.start()
	now := before.again()
	now.connect(2)
	now.call(&Invocation{Lane: 1})
	before.deliver() // that nothing was given up in it
	if now.deliver(); len(now.ready) != 1 {
		t.Errorf("%d may start", len(now.ready))
	}
}

// Sessions that have ended are kept for lanes, but no more of them than there may be sessions.
func TestC27_SessionsThatAreLeftAreLimited(t *testing.T) {
	r, s := one(t, DomainOptions{Sessions: 4})
	s.call(&Invocation{Lane: 1})
	s.deliver()
	endless := s.start()
	for n := range 20 {
		r.do(r.client.Dead(r.now, s.peer, false, nil))
		s = s.again()
		s.connect(Conn(2 + n))
	}
	if n := s.domain.Left(); n != 4 {
		t.Errorf("%d are kept", n)
	}
	s.finish(endless, "")
	put20 := s.call(&Invocation{Lane: 1})
	s.serve()
	put20.want(t, OK, Executed)
	if left, all := s.domain.Left(), s.domain.Sessions(); left != 0 || all != 1 {
		t.Errorf("%d are kept afterwards, of %d sessions", left, all)
	}
}

// A name leads to another server, and back by another name. That one knows nothing of the session, so
// it has not ended it.
func TestC8_AnotherServerEndsNoSessionOfBefore(t *testing.T) {
	r := newRig(t, DomainOptions{}, 2)
	before, other := r.servers[0], r.servers[1]
	before.connect(1)
	put10 := before.call(&Invocation{})
	before.deliver() // and waits for a worker
	before.disconnect(1)
	moved := *other
	moved.peer = before.peer
	before.peer.Tag = &moved
	moved.connect(2)
	put10.want(t, Expired, Indeterminate)
	now := before.again()
	now.connect(3)
	put20 := now.call(&Invocation{})
	now.deliver()
	before.wantNoStart()
	now.serve()
	put20.want(t, OK, Executed)
}
