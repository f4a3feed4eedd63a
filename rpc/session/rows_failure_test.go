package session

import (
	"math"
	"testing"
	"time"
)

func TestS1_31_WhatWasNotSentMovesAtOnce(t *testing.T) {
	r := newRig(t, DomainOptions{}, 2)
	s := r.servers[0]
	i := s.call(&Invocation{})
	if len(r.dialled) != 1 {
		t.Fatalf("%d dials", len(r.dialled))
	}
	r.do(r.client.Unreachable(r.now, s.peer, nil))
	if len(r.routed) != 1 {
		t.Fatal("it stays")
	}
	r.servers[1].connect(1)
	r.servers[1].call(i)
	r.servers[1].serve()
	i.want(t, OK, Executed)
}

func TestS1_31_WhatNoByteOfWasSentMovesToo(t *testing.T) {
	r, s := one(t, DomainOptions{})
	i := s.call(&Invocation{})
	s.unsent()
	s.disconnect(1)
	r.do(r.client.Unreachable(r.now, s.peer, nil))
	if len(r.routed) != 1 || r.routed[0] != i {
		t.Fatal("it stays")
	}
	r.do(r.client.NoServer(i, nil))
	i.want(t, NoServer, NotExecuted)
}

// What is taken back is so of one connection, however often and however late that is said.
func TestS1_31_WhatIsTakenBackFromEveryConnectionMovesToo(t *testing.T) {
	for name, c := range map[string]struct {
		back    []Conn // from which it is taken back: before there is a second one, and from 0 on with that
		moves   bool
		resends uint64
	}{
		"from both":                         {[]Conn{1, 0, 2}, true, 0},
		"from the first":                    {[]Conn{1, 0}, false, 0},
		"from the first, and again, late":   {[]Conn{1, 0, 1}, false, 0},
		"from the second":                   {[]Conn{0, 2}, false, 1},
		"from the second, and that twice":   {[]Conn{0, 2, 2}, false, 1},
		"from the first, late":              {[]Conn{0, 1}, false, 1},
		"from the first, late, and as well": {[]Conn{0, 1, 2}, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := one(t, DomainOptions{})
			i := s.call(&Invocation{})
			for _, conn := range c.back {
				if conn == 0 {
					s.disconnect(1)
					s.connect(2)
					continue
				}
				r.client.Unsent(s.peer, conn, i.seq)
			}
			if n := r.client.Counts.Resends; n != c.resends {
				t.Errorf("it was sent again %d times", n)
			}
			s.disconnect(2)
			r.do(r.client.Unreachable(r.now, s.peer, nil))
			if moves := len(r.routed) == 1; moves != c.moves {
				t.Errorf("it moves: %t", moves)
			}
		})
	}
}

func TestS1_32_NoServerIsSaidAtOnce(t *testing.T) {
	r := newRig(t, DomainOptions{}, 1)
	i := &Invocation{}
	r.do(r.client.NoServer(i, nil))
	i.want(t, NoServer, NotExecuted)
}

func TestS1_34_DialsBackOffAndStartAnew(t *testing.T) {
	r := newRig(t, DomainOptions{}, 1)
	s := r.servers[0]
	i := s.call(&Invocation{})
	var pauses []time.Duration
	for range 12 {
		r.do(r.client.Unreachable(r.now, s.peer, nil))
		s.call(i)
		began := r.now
		for n := len(r.dialled); len(r.dialled) == n; {
			if r.tick(time.Millisecond); i.state == routing { // there is no other
				s.call(i)
			}
		}
		pauses = append(pauses, r.now-began)
	}
	if first, last := pauses[0], pauses[11]; first > 7*time.Millisecond || last < 799*time.Millisecond || last > 1201*time.Millisecond {
		t.Errorf("pauses %s", pauses)
	}
	s.connect(1)
	s.serve()
	i.want(t, OK, Executed)
	s.disconnect(1)
	if s.call(&Invocation{}); len(r.dialled) != 14 {
		t.Errorf("%d dials: the next one waits", len(r.dialled))
	}
}

// A server that takes connections and closes them is not dialled all the time.
func TestS1_34_AConnectionThatIsNeverWelcomedCountsAsBroken(t *testing.T) {
	r := newRig(t, DomainOptions{}, 1)
	s := r.servers[0]
	s.call(&Invocation{})
	r.do(r.client.Connected(r.now, s.peer, 1, nil))
	s.disconnect(1)
	if len(r.dialled) != 1 {
		t.Errorf("%d dials at once", len(r.dialled))
	}
	if r.tick(time.Second); len(r.dialled) != 2 {
		t.Errorf("%d dials after a pause", len(r.dialled))
	}
}

// What a caller is told of a call that has failed, and what is true.
func TestS3_09_EveryErrorSaysWhetherItRan(t *testing.T) {
	tests := map[string]struct {
		play func(*rig, *testServer, *Invocation)
		code Code
		want Execution
	}{
		"cancelled before it was sent": {
			play: func(r *rig, s *testServer, i *Invocation) {
				s.unsent()
				r.do(r.client.Cancel(r.now, i, Canceled, nil))
			}, code: Canceled, want: NotExecuted,
		},
		"cancelled in the server's queue": {
			play: func(r *rig, s *testServer, i *Invocation) {
				s.deliver()
				r.do(r.client.Cancel(r.now, i, Canceled, nil))
				s.deliver()
			}, code: Canceled, want: NotExecuted,
		},
		"cancelled while its start was journalled": {
			play: func(r *rig, s *testServer, i *Invocation) {
				s.deliver()
				e := s.ready[0]
				s.do(s.domain.Take(r.now, e, nil))
				r.do(r.client.Cancel(r.now, i, Canceled, nil))
				s.deliver()
				ok, fx := s.domain.Start(r.now, e, nil)
				if s.do(fx); ok {
					r.t.Error("it starts")
				}
				s.deliver()
			}, code: Canceled, want: NotExecuted,
		},
		"cancelled while it ran, and it heeds that": {
			play: func(r *rig, s *testServer, i *Invocation) {
				s.deliver()
				e := s.start()
				r.do(r.client.Cancel(r.now, i, Canceled, nil))
				s.deliver()
				if len(s.interrupted) != 1 || s.interrupted[0] != e {
					r.t.Error("it is not interrupted")
				}
				s.do(s.domain.Return(e, Failed, nil, nil))
				s.deliver()
			}, code: Failed, want: Executed,
		},
		"cancelled after it had ended": {
			play: func(r *rig, s *testServer, i *Invocation) {
				s.deliver()
				s.finish(s.start(), "")
				s.down = nil
				r.do(r.client.Cancel(r.now, i, Canceled, nil))
				s.deliver()
			}, code: OK, want: Executed,
		},
		"given up while nothing is heard": {
			play: func(r *rig, s *testServer, i *Invocation) {
				r.do(r.client.Cancel(r.now, i, DeadlineExceeded, nil))
				r.do(r.client.GiveUp(r.now, i, nil))
			}, code: DeadlineExceeded, want: Indeterminate,
		},
		"its deadline passed in the server's queue": {
			play: func(r *rig, s *testServer, i *Invocation) {
				s.deliver()
				r.now = i.Deadline
				if s.start() != nil {
					r.t.Error("it starts")
				}
				s.deliver()
			}, code: DeadlineExceeded, want: NotExecuted,
		},
		"refused by every server": {
			play: func(r *rig, s *testServer, i *Invocation) {
				for range 3 {
					s.deliver()
					s.do(s.domain.Refuse(s.ready[0], Refused, nil, nil))
					s.ready = nil
					s.deliver()
					if i.state == routing {
						s.call(i)
					}
				}
			}, code: Refused, want: NotExecuted,
		},
		"its worker died before it had it": {
			play: func(r *rig, s *testServer, i *Invocation) {
				s.deliver()
				s.do(s.domain.Unstarted(s.start(), nil))
				r.now = i.Deadline
				s.start()
				s.deliver()
			}, code: DeadlineExceeded, want: NotExecuted,
		},
		"its worker crashed": {
			play: func(r *rig, s *testServer, i *Invocation) {
				s.deliver()
				s.do(s.domain.Crash(r.now, s.start(), true, []byte("SIGSEGV"), nil))
				s.deliver()
				if string(i.Outcome.Reply) != "SIGSEGV" {
					r.t.Errorf("the report is %q", i.Outcome.Reply)
				}
			}, code: Crashed, want: Indeterminate,
		},
		"its server is declared dead": {
			play: func(r *rig, s *testServer, i *Invocation) {
				s.disconnect(1)
				r.do(r.client.Dead(r.now, s.peer, true, nil))
				if !i.Outcome.Fenced {
					r.t.Error("it is not said that no run goes on")
				}
			}, code: Lost, want: Indeterminate,
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

// The lecture's server that crashes: with its table in a journal, without, and
// between any two of its steps.
func TestS3_24_TheServerRestarts(t *testing.T) {
	tests := map[string]struct {
		idempotent, keep bool
		lane             uint64
		until            string // how far the call had come
		code             Code
		want             Execution
		runs             int
	}{
		"had not come":                 {until: "sent", keep: true, code: OK, want: Executed, runs: 1},
		"was queued":                   {until: "queued", keep: true, code: OK, want: Executed, runs: 1},
		"ran":                          {until: "started", keep: true, code: Lost, want: Indeterminate, runs: 1},
		"ran, idempotent":              {until: "started", keep: true, idempotent: true, code: OK, want: Executed, runs: 2},
		"ran, idempotent, in a lane":   {until: "started", keep: true, idempotent: true, lane: 1, code: OK, want: Executed, runs: 2},
		"had ended":                    {until: "ended", keep: true, code: OK, want: Executed, runs: 1},
		"had ended, idempotent":        {until: "ended", keep: true, idempotent: true, code: OK, want: Executed, runs: 2},
		"had ended, journal lost":      {until: "ended", code: Expired, want: Indeterminate, runs: 1},
		"had not come, journal lost":   {until: "sent", code: Expired, want: Indeterminate, runs: 0},
		"ended, idempotent, and lost":  {until: "ended", idempotent: true, code: OK, want: Executed, runs: 2},
		"was queued, and journal lost": {until: "queued", code: Expired, want: Indeterminate, runs: 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, s := one(t, DomainOptions{Journal: true})
			i := s.call(&Invocation{Idempotent: test.idempotent, Lane: test.lane})
			runs := 0
			if test.until != "sent" {
				s.deliver()
			}
			if test.until == "started" || test.until == "ended" {
				e := s.start()
				runs++
				if test.until == "ended" {
					s.finish(e, "done")
				}
			}
			if !test.keep {
				s.journal, s.id = nil, ID{0xff}
			}
			s.boot()
			s.disconnect(1)
			s.connect(2)
			runs += s.serve()
			i.want(t, test.code, test.want)
			if runs != test.runs {
				t.Errorf("%d runs, want %d", runs, test.runs)
			}
		})
	}
}

// What was started by the server's last life and is not journalled may have run.
func TestS3_24_AnIdempotentCallThatMayHaveRunIsNotSaidNotToHave(t *testing.T) {
	r, s := one(t, DomainOptions{Journal: true})
	i := s.call(&Invocation{Idempotent: true})
	s.deliver()
	s.start()
	s.boot()
	s.disconnect(1)
	s.connect(2)
	r.do(r.client.Cancel(r.now, i, Canceled, nil))
	s.deliver()
	i.want(t, Canceled, Indeterminate)
}

func TestS3_25_AJournalCanBeWrittenAnew(t *testing.T) {
	_, s := one(t, DomainOptions{Journal: true})
	for range 50 {
		s.call(&Invocation{})
	}
	s.serve()
	ended, lost := s.call(&Invocation{}), s.call(&Invocation{})
	s.deliver()
	s.finish(s.start(), "42")
	s.start()
	s.down = nil
	long := len(s.journal)
	s.journal = nil
	for r := range s.domain.Records() {
		s.journal = append(s.journal, r)
	}
	if len(s.journal) != 3 || long < 100 {
		t.Errorf("%d records of %d", len(s.journal), long)
	}
	s.boot()
	s.disconnect(1)
	s.connect(2)
	s.serve()
	ended.want(t, OK, Executed)
	lost.want(t, Lost, Indeterminate)
}

// A call that is sent once is asked after when its connection is lost, and its error says whether
// it ran.
func TestS3_28_WhatIsSentOnceIsNeverSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		lost func(s *testServer) // what becomes of it before its connection is lost
		code Code
		ran  Execution
		runs int
	}{
		"it did not arrive": {func(s *testServer) { s.up = nil }, Lost, NotExecuted, 0},
		"it waits":          {func(s *testServer) { s.deliverUp() }, Lost, NotExecuted, 0},
		"it has ended": {func(s *testServer) {
			s.deliverUp()
			s.finish(s.start(), "done")
			s.down = nil
		}, OK, Executed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := one(t, DomainOptions{})
			i := s.call(&Invocation{Once: true})
			c.lost(s)
			s.disconnect(1)
			s.connect(2)
			if runs := s.serve(); runs != 0 {
				t.Errorf("%d runs after the loss", runs)
			}
			i.want(t, c.code, c.ran)
			if n := r.client.Counts.Resends; n != 0 {
				t.Errorf("it was sent again %d times", n)
			}
		})
	}
	t.Run("it runs, and its caller gives up", func(t *testing.T) {
		r, s := one(t, DomainOptions{})
		i := s.call(&Invocation{Once: true})
		s.deliver()
		e := s.start()
		s.disconnect(1)
		s.connect(2)
		if s.deliver(); len(s.interrupted) != 1 || e == nil {
			t.Errorf("%d are interrupted", len(s.interrupted))
		}
		r.do(r.client.Cancel(r.now, i, DeadlineExceeded, nil))
		r.do(r.client.GiveUp(r.now, i, nil))
		i.want(t, DeadlineExceeded, Indeterminate)
	})
	t.Run("it is refused", func(t *testing.T) {
		r, s := one(t, DomainOptions{})
		i := s.call(&Invocation{Once: true})
		s.deliverUp()
		s.do(s.domain.Refuse(s.ready[0], Refused, nil, nil))
		s.ready = nil
		s.deliver()
		if len(r.routed) != 0 {
			t.Error("it goes to another server")
		}
		i.want(t, Refused, NotExecuted)
	})
	t.Run("no byte of it was sent", func(t *testing.T) {
		_, s := one(t, DomainOptions{})
		i := s.call(&Invocation{Once: true})
		s.unsent()
		s.disconnect(1)
		s.connect(2)
		s.serve()
		i.want(t, OK, Executed)
	})
}

func TestS3_29_OnlyWhatIsIdempotentFailsOver(t *testing.T) {
	r := newRig(t, DomainOptions{}, 2)
	a, b := r.servers[0], r.servers[1]
	a.connect(1)
	b.connect(1)
	once, often := a.call(&Invocation{}), a.call(&Invocation{Idempotent: true})
	a.deliver()
	first, slow := a.start(), a.start()
	a.disconnect(1)
	r.tick(2999 * time.Millisecond)
	if len(r.routed) > 0 {
		t.Error("too early")
	}
	r.tick(time.Millisecond)
	if len(r.routed) != 1 || r.routed[0] != often {
		t.Fatalf("%d calls are routed", len(r.routed))
	}
	b.call(often)
	b.serve()
	often.want(t, OK, Executed)

	a.connect(2) // heals; tells it that nobody waits
	if len(a.interrupted) != 1 || a.interrupted[0] != slow {
		t.Errorf("%d runs are interrupted, want the one whose call has its outcome elsewhere", len(a.interrupted))
	}
	a.finish(slow, "too late")
	a.deliver()
	if string(often.Outcome.Reply) != "done" {
		t.Errorf("reply %q", often.Outcome.Reply)
	}
	a.finish(first, "")
	a.deliver()
	once.want(t, OK, Executed)
}

func TestS2_03_AnIdempotentCallIsRunAgainIfItsWorkerCrashes(t *testing.T) {
	r, s := one(t, DomainOptions{Runs: 3, Strikes: 10})
	i := s.call(&Invocation{Idempotent: true})
	s.deliver()
	for range 2 {
		s.do(s.domain.Crash(r.now, s.start(), true, nil, nil))
	}
	s.finish(s.start(), "")
	s.deliver()
	i.want(t, OK, Executed)

	i = s.call(&Invocation{Idempotent: true})
	s.deliver()
	for range 3 {
		s.do(s.domain.Crash(r.now, s.start(), true, nil, nil))
	}
	s.deliver()
	i.want(t, Crashed, Indeterminate)
}

// A server that drains does not run it again, but another may.
func TestS2_03_AnIdempotentCallMovesIfItsServerDrainsAfterTheCrash(t *testing.T) {
	r := newRig(t, DomainOptions{}, 2)
	a, b := r.servers[0], r.servers[1]
	a.connect(1)
	b.connect(1)
	once, often := a.call(&Invocation{}), a.call(&Invocation{Idempotent: true})
	a.deliver()
	for range 2 {
		a.do(a.domain.Crash(r.now, a.start(), true, nil, nil))
	}
	a.do(a.domain.Refuse(a.ready[0], Refused, nil, nil))
	a.deliver()
	once.want(t, Crashed, Indeterminate)
	if len(r.routed) != 1 || r.routed[0] != often {
		t.Fatalf("%d calls move", len(r.routed))
	}
	b.call(often)
	b.deliver()
	b.do(b.domain.Refuse(b.ready[0], Refused, nil, nil))
	b.deliver()
	r.do(r.client.NoServer(often, nil))
	often.want(t, Refused, Indeterminate)
}

func TestS2_05_APoisonCallIsQuarantined(t *testing.T) {
	r, s := one(t, DomainOptions{})
	crash := func(sum uint64) *Invocation {
		i := s.call(&Invocation{Sum: sum})
		s.deliver()
		if len(s.ready) > 0 {
			s.do(s.domain.Crash(r.now, s.start(), true, nil, nil))
			s.deliver()
		}
		return i
	}
	for range 3 {
		crash(13).want(t, Crashed, Indeterminate)
	}
	crash(13).want(t, Poisoned, NotExecuted)
	crash(14).want(t, Crashed, Indeterminate) // other arguments
	r.now += 10 * time.Minute
	s.disconnect(1)
	s.connect(2)
	crash(13).want(t, Crashed, Indeterminate)
	for range 2 {
		crash(13)
	}
	crash(13).want(t, Poisoned, NotExecuted)
	s.domain.Pardon(7, 13)
	crash(13).want(t, Crashed, Indeterminate)
	s.do(s.domain.Tick(r.now+10*time.Minute, nil))
	if n := len(s.domain.poison.what); n > 0 {
		t.Errorf("%d are remembered for ever", n)
	}
}

// A server that welcomes a session as new, or that has another table, has lost it,
// whatever it says of Resume.
func TestC27_AClientKnowsAnotherTable(t *testing.T) {
	for name, change := range map[string]func(*Handshake){
		"the session is new": func(h *Handshake) { h.Resume = false },
		"another domain":     func(h *Handshake) { h.Domain = ID{0xff} },
	} {
		r, s := one(t, DomainOptions{})
		i := s.call(&Invocation{})
		s.up = nil
		s.disconnect(1)
		r.do(r.client.Connected(r.now, s.peer, 2, nil))
		s.deliverUp()
		change(s.down[0].m.Greeting)
		s.deliver()
		if i.want(t, Lost, Indeterminate); len(s.ready) > 0 {
			t.Errorf("%s: it is to run", name)
		}
	}
}

// A deadline that is as far as there are numbers is not one that has passed.
func TestC27_AFarDeadlineHasNotPassed(t *testing.T) {
	const year = 365 * 24 * time.Hour
	p := Peer{serverAt: 3 * year, clientAt: time.Second}
	if d := p.deadline(math.MaxInt64); d < 100*year {
		t.Errorf("it is %s on the server's clock", d)
	}
}

// The server's clock shows a converted deadline before the client's shows the
// deadline, however long the welcome was under way and whichever clock is faster.
func TestC27_DeadlinesAreNeverLate(t *testing.T) {
	const start, sent = 1000 * time.Second, 5000 * time.Second // at the client, at the server
	for _, ppm := range []int64{-800, 0, 800} {
		for _, delay := range []time.Duration{0, time.Millisecond, time.Minute} {
			for _, wait := range []time.Duration{time.Millisecond, time.Second, time.Hour} {
				p := Peer{serverAt: sent, clientAt: start + delay}
				d := p.deadline(start + delay + wait)
				elapsed := delay + wait // since sent, by the client's clock
				if shows := sent + elapsed + time.Duration(int64(elapsed)*ppm/1e6); d > shows {
					t.Errorf("%d ppm, delay %s, in %s: %s too late", ppm, delay, wait, d-shows)
				}
				if early := sent + wait - d; early > wait>>10 {
					t.Errorf("in %s: %s too early", wait, early)
				}
			}
		}
	}
}

// What was running when the server died is lost, unless its handler knows whether it has
// taken place: then it is asked.
func TestS3_27_ALostCallIsRunAgainIfItsHandlerKeepsRecords(t *testing.T) {
	for name, restarts := range map[string]int{"one restart": 1, "another before the client is back": 2} {
		t.Run(name, func(t *testing.T) {
			_, s := one(t, DomainOptions{Journal: true})
			s.recorded = true
			i := s.call(&Invocation{Method: 7, Args: []byte("x")})
			s.deliver()
			s.start()
			for range restarts {
				s.boot()
				s.compact()
			}
			s.disconnect(1)
			s.connect(2)
			if len(s.ready) != 1 {
				t.Fatalf("%d calls wait for a worker, want the one that is asked for again", len(s.ready))
			}
			if e := s.ready[0]; e.XID() != i.XID() || string(e.Args) != "x" {
				t.Errorf("%v with %q", e.XID(), e.Args)
			}
			s.serve()
			i.want(t, OK, Executed)
		})
	}
}

func TestS3_27_ALostCallThatIsTooLateIsIndeterminate(t *testing.T) {
	r, s := one(t, DomainOptions{Journal: true})
	s.recorded = true
	i := s.call(&Invocation{Deadline: r.now + time.Second})
	s.deliver()
	s.start()
	s.boot()
	s.disconnect(1)
	r.now += 2 * time.Second
	s.connect(2)
	s.serve()
	i.want(t, DeadlineExceeded, Indeterminate)
}
