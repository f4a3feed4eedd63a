package session

import (
	"testing"
	"time"
)

// A call is found by its reply from when its frame is handed out: the reply may come
// before the connection's Write has returned.
func TestS3_32_AReplyMayComeBeforeTheSendReturns(t *testing.T) {
	r, s := one(t, DomainOptions{})
	i := &Invocation{Method: 7}
	out := r.client.Assign(r.now, i, s.peer, nil)
	s.receive(packet{out[0].Conn, out[0].Msg})
	s.finish(s.start(), "")
	s.deliverDown()
	i.want(t, OK, Executed)
}

// Wherever a call is when its deadline passes, it does not start after it, and what its
// caller is told is true.
func TestC27_ADeadlinePasses(t *testing.T) {
	tests := map[string]struct {
		play func(*rig, *testServer, *Invocation)
		code Code
		want Execution
	}{
		"at the client, before it is sent": {
			play: func(r *rig, s *testServer, i *Invocation) {
				s.unsent()
				r.now = i.Deadline
				r.do(r.client.Cancel(r.now, i, DeadlineExceeded, nil))
			}, code: DeadlineExceeded, want: NotExecuted,
		},
		"under way": {
			play: func(r *rig, s *testServer, i *Invocation) {
				r.now = i.Deadline
				s.deliver()
				if s.start() != nil {
					r.t.Error("it starts")
				}
				s.deliver()
			}, code: DeadlineExceeded, want: NotExecuted,
		},
		"while its start is journalled": {
			play: func(r *rig, s *testServer, i *Invocation) {
				s.deliver()
				e := s.ready[0]
				s.do(s.domain.Take(r.now, e, nil))
				r.now = i.Deadline
				ok, fx := s.domain.Start(r.now, e, nil)
				if s.do(fx); ok {
					r.t.Error("it starts")
				}
				s.deliver()
			}, code: DeadlineExceeded, want: NotExecuted,
		},
		"while it runs, and its worker is killed": {
			play: func(r *rig, s *testServer, i *Invocation) {
				s.deliver()
				e := s.start()
				r.now = i.Deadline
				s.do(s.domain.Crash(r.now, e, false, nil, nil))
				s.deliver()
			}, code: Crashed, want: Indeterminate,
		},
		"while it runs, and nothing ends it": {
			play: func(r *rig, s *testServer, i *Invocation) {
				s.deliver()
				s.start()
				r.now = i.Deadline
				r.do(r.client.Cancel(r.now, i, DeadlineExceeded, nil))
				s.deliver()
				r.do(r.client.GiveUp(r.now, i, nil))
			}, code: DeadlineExceeded, want: Indeterminate,
		},
		"while its reply is under way": {
			play: func(r *rig, s *testServer, i *Invocation) {
				s.deliver()
				s.finish(s.start(), "")
				r.now = i.Deadline
				r.do(r.client.Cancel(r.now, i, DeadlineExceeded, nil))
				s.deliver()
			}, code: OK, want: Executed,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, s := one(t, DomainOptions{Journal: true})
			i := s.call(&Invocation{Deadline: r.now + time.Minute})
			test.play(r, s, i)
			i.want(t, test.code, test.want)
		})
	}
}

// A copy of a call comes once more, when all is over.
func TestC27_ADuplicateNeverRuns(t *testing.T) {
	tests := map[string]struct {
		before func(*rig, *testServer)
		answer Kind // 0: none
	}{
		"after its end":   {before: func(*rig, *testServer) {}, answer: Reply},
		"after its ack":   {before: func(r *rig, s *testServer) { s.deliver(); r.tick(time.Second); s.deliver() }},
		"after its lease": {before: func(r *rig, s *testServer) { s.do(s.domain.Tick(r.now+time.Hour, nil)) }, answer: Gone},
		"after a Bye":     {before: func(r *rig, s *testServer) { r.do(r.client.Bye(r.now, nil)); s.deliver() }, answer: Gone},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, s := one(t, DomainOptions{})
			s.call(&Invocation{})
			copied := s.up[0]
			s.deliver()
			s.finish(s.start(), "done")
			test.before(r, s)
			s.down = nil
			s.receive(copied)
			if len(s.ready) > 0 {
				t.Error("it is to run")
			}
			switch {
			case test.answer == 0 && len(s.down) > 0:
				t.Errorf("it is answered: %s", s.down[0].m.Kind)
			case test.answer != 0 && (len(s.down) != 1 || s.down[0].m.Kind != test.answer):
				t.Errorf("%d answers, want %s", len(s.down), test.answer)
			}
		})
	}
}

// A handler that never returns holds its lane and nothing else, and is forgotten when
// its worker is killed.
func TestC27_AHandlerThatNeverReturnsHoldsItsLaneOnly(t *testing.T) {
	r, s := one(t, DomainOptions{})
	stuck, behind, beside := s.call(&Invocation{Lane: 1}), s.call(&Invocation{Lane: 1}), s.call(&Invocation{Lane: 2})
	s.deliver()
	e := s.start()
	r.do(r.client.Cancel(r.now, stuck, DeadlineExceeded, nil))
	r.do(r.client.GiveUp(r.now, stuck, nil))
	s.serve()
	stuck.want(t, DeadlineExceeded, Indeterminate)
	beside.want(t, OK, Executed)
	r.do(r.client.Cancel(r.now, behind, Canceled, nil))
	s.deliver()
	behind.want(t, Canceled, NotExecuted)
	r.tick(time.Second)
	s.deliver()
	s.wantEntries(1)
	s.do(s.domain.Crash(r.now, e, true, nil, nil))
	s.wantEntries(0)
	if last := s.call(&Invocation{Lane: 1}); s.serve() != 1 || last.Outcome.Code != OK {
		t.Error("its lane is still held")
	}
}

// Whoever waits for long is told that it runs.
func TestC27_ALongCallIsSaidToRun(t *testing.T) {
	r, s := one(t, DomainOptions{})
	i := s.call(&Invocation{})
	s.deliver()
	e := s.start()
	if i.Started() {
		t.Error("it is said too early")
	}
	s.do(s.domain.Notice(e, nil))
	s.deliver()
	if !i.Started() || i.XID() != e.XID() {
		t.Errorf("%s started: %t, as %s", i.XID(), i.Started(), e.XID())
	}
	r.do(r.client.Cancel(r.now, i, Canceled, nil))
	r.do(r.client.GiveUp(r.now, i, nil))
	s.deliver()
	s.do(s.domain.Notice(e, nil))
	if len(s.down) > 0 {
		t.Error("it is said of a call that nobody waits for")
	}
}

// A call without arguments, and one without a reply, are calls like any other.
func TestC27_NoArgumentsAndNoReply(t *testing.T) {
	_, s := one(t, DomainOptions{Journal: true})
	i := s.call(&Invocation{})
	s.deliver()
	s.finish(s.start(), "")
	s.boot()
	s.disconnect(1)
	s.connect(2)
	i.want(t, OK, Executed)
}

func TestC2_ALeaseIsRenewedInTimeHoweverShortItIs(t *testing.T) {
	for _, lease := range []time.Duration{time.Second, time.Minute, time.Hour} {
		r, s := one(t, DomainOptions{Lease: lease})
		r.client.Terms(s.peer, lease, 0)
		for range 100 {
			r.tick(lease / 10)
			s.deliver()
			s.do(s.domain.Tick(r.now, nil))
		}
		if n := s.domain.Counts.Expired; n != 0 {
			t.Errorf("lease of %v: the session has expired", lease)
		}
	}
}

func TestC2_NoMoreCallsAreOpenThanTheServerAllows(t *testing.T) {
	for _, x := range []struct{ says, ours, want int }{{0, 512, 20}, {3, 512, 3}, {512, 3, 3}} {
		r, s := one(t, DomainOptions{})
		r.client.opt.Open = x.ours
		r.client.Terms(s.peer, 0, x.says)
		for range 20 {
			s.call(&Invocation{})
		}
		if s.deliver(); len(s.ready) != x.want {
			t.Errorf("server says %d, client %d: %d calls are open, want %d", x.says, x.ours, len(s.ready), x.want)
		}
		s.serve()
		if s.serve(); len(r.finished) != 20 {
			t.Errorf("%d calls have ended", len(r.finished))
		}
	}
}
