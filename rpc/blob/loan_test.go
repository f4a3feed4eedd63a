package blob

import (
	"errors"
	"testing"
	"time"
)

var aCall, anotherCall = Call{Session: [16]byte{1}, Seq: 1}, Call{Session: [16]byte{1}, Seq: 2}

// scene is a caller with a blob, and a callee.
type scene struct {
	*world
	caller, callee PartyID
	account        Handle
	own, lent      Handle // of the same blob: the owner's, and one to be passed on
}

func newScene(t failer) *scene {
	s := &scene{world: newWorld(t, Config{})}
	s.caller, s.account = s.joinWith("caller", 0)
	s.callee = s.join("callee")
	s.own = s.allocate(s.caller, 10_000, Read|Write)
	s.lent = s.share(s.caller, s.own, 0, 10_000, Read|Write)
	return s
}

// rest checks that calls have left nothing but the caller's blob, and so many more.
func (s *scene) rest(more uint64) {
	s.t.Helper()
	s.audit()
	if now := s.Snapshot(s.now); now.Blobs != 1+more || now.Calls != 0 || len(now.Holdings) != int(1+more) {
		s.t.Fatalf("after the call: %+v", now)
	}
}

func TestACallReadsItsArgument(t *testing.T) {
	s := newScene(t)
	loan, err := s.begin(aCall, s.callee, Arg{Handle: s.lent, Mode: In})
	if err != nil || len(loan.Copies) != 0 {
		t.Fatal(loan, err)
	}
	h := loan.Args[0].Handle
	place, err := s.Locate(s.callee, aCall, h)
	if err != nil || place.Length != 10_000 || place.Write {
		t.Errorf("argument is at %+v, %v", place, err)
	}
	if a := loan.Args[0]; a.Segment != place.Segment || a.Offset != place.Offset || a.Mode != In {
		t.Errorf("it is told %+v, at %+v", a, place)
	}
	if h.Rights != Read {
		t.Errorf("it may be used with %v", h.Rights)
	}
	_, err = s.Locate(s.callee, anotherCall, h)
	wantErr(t, "located for another call", err, ErrCall)
	_, err = s.Locate(s.caller, aCall, h)
	wantErr(t, "located by another party", err, ErrCall)
	_, err = s.Locate(s.callee, aCall, s.lent)
	wantErr(t, "located to write", err, ErrGone)
	forged := h
	forged.Rights = Read | Write
	_, err = s.Locate(s.callee, aCall, forged)
	wantErr(t, "located by a forged handle", err, ErrForged)
	_, err = s.Locate(s.callee, Call{}, h)
	wantErr(t, "located as if it were its own", err, ErrRights)

	if _, err := s.begin(anotherCall, s.callee, Arg{Handle: s.lent, Mode: In}); err != nil {
		t.Errorf("two calls read: %v", err)
	}
	s.end(anotherCall, Succeeded)
	if e := s.end(aCall, Crashed); e.Dirty {
		t.Error("what was only read is dirty")
	}
	s.rest(0)
}

func TestACallKeepsWhatItsCallerLetsGo(t *testing.T) {
	s := newScene(t)
	loan, err := s.begin(aCall, s.callee, Arg{Handle: s.lent, Mode: InOut})
	if err != nil {
		t.Fatal(err)
	}
	s.Leave(s.now, s.caller)
	s.give()
	if place, err := s.Locate(s.callee, aCall, loan.Args[0].Handle); err != nil || s.segments[place.Segment] == 0 {
		t.Errorf("its argument is at %+v, %v", place, err)
	}
	s.end(aCall, Succeeded)
	if now := s.Snapshot(s.now); now.Blobs != 0 || len(s.segments) != 0 {
		t.Errorf("left: %+v", now)
	}
}

func TestAResultIsSeenWhenTheCallHasSucceeded(t *testing.T) {
	s := newScene(t)
	loan, err := s.begin(aCall, s.callee, Arg{Handle: s.account, Mode: Out, Size: 5000})
	if err != nil {
		t.Fatal(err)
	}
	h := loan.Args[0].Handle
	if place, err := s.Locate(s.callee, aCall, h); err != nil || !place.Write || place.Length != 5000 {
		t.Errorf("result is to be written at %+v, %v", place, err)
	}
	_, err = s.Locate(s.caller, Call{}, h)
	wantErr(t, "seen by its caller before the call has ended", err, ErrGone)

	_, err = s.End(aCall, Succeeded, s.made(aCall, 5001))
	wantErr(t, "longer than it was to be", err, ErrRange)
	_, err = s.End(aCall, Succeeded, nil)
	wantErr(t, "not named", err, ErrMalformed)
	_, err = s.End(aCall, Succeeded, append(s.made(aCall, 1), s.made(aCall, 1)...))
	wantErr(t, "named twice", err, ErrMalformed)

	e := s.end(aCall, Succeeded, 42)
	place, err := s.Locate(s.caller, Call{}, e.Results[0])
	if err != nil || place.Length != 42 {
		t.Errorf("result is at %+v, %v", place, err)
	}
	s.rest(1)
	s.share(s.caller, e.Results[0], 0, 42, Read)
	_, _, err = s.Acquire(s.now, s.callee, h, InOut, 0)
	wantErr(t, "written by its maker when others have it", err, ErrGone)
	if err := s.Free(s.now, s.caller, e.Results[0]); err != nil {
		t.Error(err)
	}
	s.rest(0)
}

// TestACalleeNamesNoResultsButItsOwn: whatever else it names, the table has not changed, nobody has anything of
// anybody, and the call may still end in order.
func TestACalleeNamesNoResultsButItsOwn(t *testing.T) {
	s := newScene(t)
	loan, err := s.begin(aCall, s.callee, Arg{Handle: s.account, Mode: Out, Size: 5000})
	if err != nil {
		t.Fatal(err)
	}
	other, account, err := s.Join(s.now, "other", 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := s.begin(anotherCall, s.callee, Arg{Handle: account, Mode: Out, Size: 5000})
	if err != nil {
		t.Fatal(err)
	}
	own, victim := loan.Args[0].Handle, s.allocate(other, 5000, Read)
	change := func(f func(*Handle)) Handle {
		h := own
		f(&h)
		return h
	}
	for name, h := range map[string]Handle{
		"a result of another's call":  theirs.Args[0].Handle,
		"a blob of another party":     victim,
		"an account":                  account,
		"the account that pays":       s.account,
		"nothing":                     {},
		"the next generation":         change(func(h *Handle) { h.Generation++ }),
		"the generation before":       change(func(h *Handle) { h.Generation-- }),
		"a part of it":                change(func(h *Handle) { h.Offset = 1 }),
		"it, with fewer rights":       change(func(h *Handle) { h.Rights = Read }),
		"it, with a token of its own": change(func(h *Handle) { h.Token[0] ^= 1 }),
		"it, of another domain":       change(func(h *Handle) { h.Domain[0] ^= 1 }),
	} {
		for _, made := range [][]Handle{{h}, {own, h}, {h, own}} {
			if _, err := s.End(aCall, Succeeded, made); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %v", name, err)
			}
			s.audit()
		}
	}
	if e := s.end(anotherCall, Succeeded, 5000); len(e.Results) != 1 {
		t.Errorf("the other's result: %+v", e)
	}
	if e := s.end(aCall, Succeeded, 42); len(e.Results) != 1 || e.Results[0].Length != 42 {
		t.Errorf("its own result: %+v", e)
	}
	if _, err := s.Locate(other, Call{}, victim); err != nil {
		t.Errorf("the other's blob: %v", err)
	}
	s.rest(3)
}

// TestAResultThatACalleeHasAskedForMayBeLeftOut, as when it could not map its memory.
func TestAResultThatACalleeHasAskedForMayBeLeftOut(t *testing.T) {
	for used := range 3 {
		s := newScene(t)
		var own []Handle
		for range 2 {
			var a Arg
			if err := s.grow(func() (err error) {
				a, _, err = s.Extend(s.now, aCall, s.callee, s.account, 5000)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			own = append(own, a.Handle)
		}
		var made []Handle
		if used > 0 {
			made = own[used-1 : used]
		}
		e, err := s.End(aCall, Succeeded, made)
		if err != nil || len(e.Results) != len(made) {
			t.Fatalf("%d: %+v, %v", used, e, err)
		}
		if err := s.Settle(s.now, aCall); err != nil {
			t.Error(err)
		}
		s.rest(uint64(len(made)))
	}
}

func TestAResultOfACallThatDoesNotSucceedIsNeverSeen(t *testing.T) {
	for _, outcome := range []Outcome{Failed, Crashed} {
		s := newScene(t)
		if _, err := s.begin(aCall, s.callee, Arg{Handle: s.account, Mode: Out, Size: 5000}); err != nil {
			t.Fatal(err)
		}
		if e := s.end(aCall, outcome); len(e.Results) != 0 || e.Dirty {
			t.Errorf("outcome %d: %+v", outcome, e)
		}
		s.rest(0)
	}
}

func TestAResultOfACallerThatHasGoneGoesToo(t *testing.T) {
	s := newScene(t)
	if _, err := s.begin(aCall, s.callee, Arg{Handle: s.account, Mode: Out, Size: 5000}); err != nil {
		t.Fatal(err)
	}
	s.Leave(s.now, s.caller)
	e := s.end(aCall, Succeeded, 1)
	_, err := s.Locate(s.caller, Call{}, e.Results[0])
	wantErr(t, "result of the dead", err, ErrGone)
	if now := s.Snapshot(s.now); now.Blobs != 0 || len(s.segments) != 0 {
		t.Errorf("left: %+v", now)
	}
}

func TestInOutWithoutASnapshot(t *testing.T) {
	for name, c := range map[string]struct {
		outcome Outcome
		dirty   bool
	}{
		"a success leaves what it wrote":   {Succeeded, false},
		"an error, too: it ended in order": {Failed, false},
		"a crash leaves it half written":   {Crashed, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			loan, err := s.begin(aCall, s.callee, Arg{Handle: s.lent, Mode: InOut})
			if err != nil || len(loan.Copies) != 0 {
				t.Fatal(loan, err)
			}
			_, err = s.begin(anotherCall, s.callee, Arg{Handle: s.lent, Mode: In})
			wantErr(t, "another call reads meanwhile", err, ErrBusy)
			if e := s.end(aCall, c.outcome); e.Dirty != c.dirty || len(e.Copies) != 0 {
				t.Errorf("%+v", e)
			}
			s.rest(0)
			_, err = s.begin(anotherCall, s.callee, Arg{Handle: s.lent, Mode: In})
			if !c.dirty {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantErr(t, "used by the next call", err, ErrDirty)
			wantErr(t, "accepted by who does not own it", s.Accept(s.callee, s.own), ErrRights)
			if err := s.Accept(s.caller, s.own); err != nil {
				t.Fatal(err)
			}
			if _, err = s.begin(anotherCall, s.callee, Arg{Handle: s.lent, Mode: In}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestInOutWithASnapshot(t *testing.T) {
	for name, c := range map[string]struct {
		outcome Outcome
		restore bool
	}{
		"a success leaves what it wrote":     {Succeeded, false},
		"an error leaves what was before":    {Failed, true},
		"a crash, too, and nothing is dirty": {Crashed, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			part, err := s.Slice(s.lent, 5000, 300, Read|Write)
			if err != nil {
				t.Fatal(err)
			}
			loan, err := s.begin(aCall, s.callee, Arg{Handle: part, Mode: InOut, Snapshot: true})
			if err != nil || len(loan.Copies) != 1 {
				t.Fatal(loan, err)
			}
			saved := loan.Copies[0]
			if saved.From.Length != 300 || saved.To.Length != 300 || saved.From.Offset%Page != 5000%Page {
				t.Errorf("copied %+v", saved)
			}
			s.audit()
			e, err := s.End(aCall, c.outcome, nil)
			if err != nil || e.Dirty {
				t.Fatalf("%+v, %v", e, err)
			}
			if restored := len(e.Copies) == 1; restored != c.restore ||
				restored && (e.Copies[0].From.Offset != saved.To.Offset || e.Copies[0].To.Offset != saved.From.Offset) {
				t.Errorf("copied %+v, saved %+v", e.Copies, saved)
			}
			_, err = s.begin(anotherCall, s.callee, Arg{Handle: s.lent, Mode: In})
			wantErr(t, "used before it is restored", err, ErrBusy)
			_, err = s.End(aCall, Succeeded, nil)
			wantErr(t, "ended twice", err, ErrCall)
			if err := s.Settle(s.now, aCall); err != nil {
				t.Error(err)
			}
			wantErr(t, "settled twice", s.Settle(s.now, aCall), ErrCall)
			s.rest(0)
		})
	}
}

func TestACallGetsAllItsArgumentsOrNone(t *testing.T) {
	stale := newScene(t).lent
	for name, c := range map[string]struct {
		last func(*scene) Arg
		want error
	}{
		"the same bytes twice, to be written": {func(s *scene) Arg { return Arg{Handle: s.lent, Mode: InOut} }, ErrBusy},
		"a forged handle": {func(s *scene) Arg {
			s.lent.Length--
			return Arg{Handle: s.lent, Mode: In}
		}, ErrForged},
		"no account to make a result for": {func(s *scene) Arg { return Arg{Handle: s.lent, Mode: Out, Size: 1} }, ErrRights},
		"a forged account": {func(s *scene) Arg {
			s.account.ID = 2
			return Arg{Handle: s.account, Mode: Out, Size: 1}
		}, ErrForged},
		"an account of another domain": {func(s *scene) Arg {
			s.account.Domain = Domain{7}
			return Arg{Handle: s.account, Mode: Out, Size: 1}
		}, ErrDomain},
		"the account of a party that has left": {func(s *scene) Arg {
			id, account := s.joinWith("other", 0)
			s.Leave(s.now, id)
			return Arg{Handle: account, Mode: Out, Size: 1}
		}, ErrGone},
		"an account as an argument": {func(s *scene) Arg { return Arg{Handle: s.account, Mode: In} }, ErrRights},
		"a result beyond the quota": {func(s *scene) Arg { return Arg{Handle: s.account, Mode: Out, Size: 2 << 30} }, ErrQuota},
		"a pin":                     {func(s *scene) Arg { return Arg{Handle: s.lent, Mode: Pin} }, ErrRights},
		"what is read only, to be written": {func(s *scene) Arg {
			h := s.share(s.caller, s.own, 0, 1, Read)
			return Arg{Handle: h, Mode: InOut}
		}, ErrRights},
		"what is not shared": {func(s *scene) Arg { return Arg{Handle: s.allocate(s.caller, 1, Read), Mode: In} }, ErrRights},
		"what is freed": {func(s *scene) Arg {
			h := s.allocate(s.caller, 1, Read)
			_ = s.Free(s.now, s.caller, h)
			return Arg{Handle: h, Mode: In}
		}, ErrGone},
		"what was of an earlier life of the server": {func(*scene) Arg {
			h := stale
			h.Domain = Domain{8}
			return Arg{Handle: h, Mode: In}
		}, ErrDomain},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			last := c.last(s)
			blobs := s.Snapshot(s.now).Blobs
			_, err := s.begin(aCall, s.callee,
				Arg{Handle: s.account, Mode: Out, Size: 6 << 20},
				Arg{Handle: newHandleOf(s), Mode: InOut, Snapshot: true}, last)
			wantErr(t, "begin", err, c.want)
			s.audit()
			if now := s.Snapshot(s.now); now.Blobs != blobs || now.Calls != 0 {
				t.Errorf("left: %+v", now)
			}
			if _, err := s.begin(aCall, s.callee); err != nil {
				t.Errorf("the call with other arguments: %v", err)
			}
		})
	}
}

// newHandleOf is a valid argument to be written.
func newHandleOf(s *scene) Handle {
	part, err := s.Slice(s.share(s.caller, s.own, 9000, 100, Read|Write), 0, 100, Read|Write)
	if err != nil {
		s.t.Fatal(err)
	}
	return part
}

func TestASnapshotCountsToTheQuotaOfItsBlob(t *testing.T) {
	s := &scene{world: newWorld(t, Config{Limits: Limits{PartyBlobs: 1}})}
	s.caller, _ = s.joinWith("caller", 0)
	s.callee = s.join("callee")
	s.own = s.allocate(s.caller, 10, Read|Write)
	s.lent = s.share(s.caller, s.own, 0, 10, Read|Write)
	_, err := s.begin(aCall, s.callee, Arg{Handle: s.lent, Mode: InOut, Snapshot: true})
	wantErr(t, "begin", err, ErrQuota)
	s.rest(0)
}

func TestBeginTwiceAndForNobody(t *testing.T) {
	s := newScene(t)
	if _, err := s.begin(aCall, s.callee); err != nil {
		t.Fatal(err)
	}
	_, err := s.begin(aCall, s.callee)
	wantErr(t, "begun twice", err, ErrCall)
	_, err = s.begin(anotherCall, 99)
	wantErr(t, "for nobody", err, ErrParty)
	wantErr(t, "settled before it has ended", s.Settle(s.now, aCall), ErrCall)
	_, err = s.End(anotherCall, Failed, nil)
	wantErr(t, "ended and not begun", err, ErrCall)
}

// TestTheDeathOfACallee: its server says how the call ended, as the callee may have
// replied before it died; if nobody says anything for a while, it has crashed.
func TestTheDeathOfACallee(t *testing.T) {
	s := newScene(t)
	for _, c := range []Call{aCall, anotherCall} {
		h, err := s.Slice(s.lent, c.Seq*100, 100, Read|Write)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.begin(c, s.callee, Arg{Handle: h, Mode: InOut}); err != nil {
			t.Fatal(err)
		}
	}
	s.Leave(s.now, s.callee)
	if crashed := s.later(s.Grace - 1); len(crashed) != 0 {
		t.Errorf("crashed before the grace is over: %v", crashed)
	}
	if e := s.end(aCall, Succeeded); e.Dirty {
		t.Error("a call that succeeded is dirty")
	}
	crashed := s.later(1)
	if len(crashed) != 1 || crashed[0] != anotherCall {
		t.Fatalf("crashed: %v", crashed)
	}
	if e := s.end(anotherCall, Crashed); !e.Dirty {
		t.Error("a call that crashed is not dirty")
	}
	if crashed := s.later(time.Hour); len(crashed) != 0 {
		t.Errorf("crashed again: %v", crashed)
	}
	s.rest(0)
}

func TestSnapshotListsWhoHasWhat(t *testing.T) {
	s := newScene(t)
	s.now += time.Second
	if _, err := s.begin(aCall, s.callee, Arg{Handle: s.lent, Mode: In}); err != nil {
		t.Fatal(err)
	}
	s.now += time.Second
	got := s.Snapshot(s.now)
	if len(got.Holdings) != 2 || got.Calls != 1 || got.Parties != 2 || got.Segments != 1 || got.Bytes != 4<<20 {
		t.Fatalf("%+v", got)
	}
	want := Holding{ID: 1, Generation: 1, Size: 10_000, Memory: 3 * Page, State: Shared, Holder: "caller", Owner: true, Age: 2 * time.Second}
	if got.Holdings[0] != want {
		t.Errorf("owner: %+v", got.Holdings[0])
	}
	want.Holder, want.Owner, want.Mode, want.Call, want.Age = "callee", false, In, aCall, time.Second
	if got.Holdings[1] != want {
		t.Errorf("callee: %+v", got.Holdings[1])
	}
}
