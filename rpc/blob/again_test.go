package blob

import (
	"slices"
	"testing"
)

// lendAgain lends a scene's blob to a call whose caller wants to use it again.
func (s *scene) lendAgain(h Handle, account Handle, size uint64) (Loan, error) {
	s.t.Helper()
	return s.begin(aCall, s.callee, Arg{Handle: h, Mode: In, Again: true, Size: size, Account: account})
}

// TestAnArgumentIsUsedAgain: its owner has it by the next generation, and whoever knew it by the last one has nothing.
func TestAnArgumentIsUsedAgain(t *testing.T) {
	s := newScene(t)
	h, known := s.lent, []Handle{s.own, s.lent}
	for range 3 {
		made := s.Snapshot(s.now).Made
		loan, err := s.lendAgain(h, s.account, 6_000)
		if err != nil {
			t.Fatal(err)
		}
		if a := loan.Args[0].Handle; a.Length != 6_000 || a.Rights != Read || a.Generation != h.Generation {
			t.Errorf("the callee gets %v with %v", a, a.Rights)
		}
		if more := s.Snapshot(s.now).Made - made; (more == 1) != (h != s.lent) {
			t.Errorf("a use of %v counts as %d blobs", h, more)
		}
		again := s.Again(s.end(aCall, Succeeded).Again)
		if len(again) != 1 || again[0].Generation != h.Generation+1 || again[0].Length != 10_000 || again[0].Rights != Read {
			t.Fatalf("it may be used again as %v, it was %v", again, h)
		}
		known = append(known, h, loan.Args[0].Handle)
		for _, old := range known {
			_, _, err := s.Acquire(s.now, s.callee, old, In, 0)
			wantErr(t, "taken by an old handle", err, ErrGone)
			_, err = s.begin(anotherCall, s.callee, Arg{Handle: old, Mode: In})
			wantErr(t, "lent by an old handle", err, ErrGone)
			_, err = s.Slice(old, 0, 1, Read)
			wantErr(t, "passed on by an old handle", err, ErrGone)
		}
		h = again[0]
		s.rest(0)
	}
	if err := s.Free(s.now, s.caller, h); err != nil {
		t.Error(err)
	}
	if n := s.Snapshot(s.now).Blobs; n != 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// TestAnArgumentThatOthersHaveIsNotUsedAgain, or that is not its owner's to use.
func TestAnArgumentThatOthersHaveIsNotUsedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(*scene, Handle) // with the callee's handle
		account   func(*scene) Handle
		outcome   Outcome
		size      uint64
		again     int
	}{
		"nobody has it":      {again: 1},
		"its handler failed": {outcome: Failed, again: 1},
		"its callee crashed": {outcome: Crashed},
		"its callee reads on": {meanwhile: func(s *scene, h Handle) {
			s.acquire(s.callee, h, In)
		}},
		"its callee keeps it": {meanwhile: func(s *scene, h Handle) {
			s.acquire(s.callee, h, Pin)
		}},
		"another call has it": {meanwhile: func(s *scene, h Handle) {
			if _, err := s.begin(anotherCall, s.callee, Arg{Handle: h, Mode: In}); err != nil {
				s.t.Fatal(err)
			}
		}},
		"it is borrowed": {meanwhile: func(s *scene, h Handle) {
			if _, _, err := s.Borrow(s.now, s.callee, h, In); err != nil {
				s.t.Fatal(err)
			}
		}},
		"its owner has let it go": {meanwhile: func(s *scene, _ Handle) {
			if err := s.Free(s.now, s.caller, s.own); err != nil {
				s.t.Fatal(err)
			}
		}},
		"its owner has left": {meanwhile: func(s *scene, _ Handle) { s.Leave(s.now, s.caller) }},
		"another one asks for the call": {account: func(s *scene) Handle {
			_, theirs := s.joinWith("other", 0)
			return theirs
		}},
		"nobody says who asks": {account: func(*scene) Handle { return Handle{} }},
		"who asks forges": {account: func(s *scene) Handle {
			forged := s.account
			forged.Token[0]++
			return forged
		}},
		"half of its owner's quota is used": {meanwhile: func(s *scene, _ Handle) { s.Limits.PartyBytes = 20_000 }},
		"half of its owner's blobs are":     {meanwhile: func(s *scene, _ Handle) { s.Limits.PartyBlobs = 1 }},
		"half of the memory is used":        {meanwhile: func(s *scene, _ Handle) { s.Limits.Memory = firstSegment }},
		"its generations are spent":         {meanwhile: func(s *scene, h Handle) { s.blobs[h.ID-1].generation = lastGeneration }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			account := s.account
			if c.account != nil {
				account = c.account(s)
			}
			loan, err := s.lendAgain(s.lent, account, 10_000)
			if err != nil {
				t.Fatal(err)
			}
			if c.meanwhile != nil {
				c.meanwhile(s, loan.Args[0].Handle)
			}
			if again := s.Again(s.end(aCall, c.outcome).Again); len(again) != c.again {
				t.Errorf("it may be used again as %v", again)
			}
			s.audit()
		})
	}
}

// TestAnOwnerThatHasNotHeardOfIt lets its blob go by the handle from before. Nobody else does, and an id that somebody
// else has by now is theirs. A call from before gets nothing, as there may be another's bytes by now.
func TestAnOwnerThatHasNotHeardOfIt(t *testing.T) {
	s := newScene(t)
	use := func(h Handle) Handle {
		if _, err := s.lendAgain(h, s.account, 10_000); err != nil {
			t.Fatal(err)
		}
		return s.Again(s.end(aCall, Succeeded).Again)[0]
	}
	newest := use(use(s.lent))
	if newest.Generation != s.own.Generation+2 {
		t.Errorf("it is %v, it was %v", newest, s.own)
	}
	_, err := s.lendAgain(s.lent, s.account, 10_000)
	wantErr(t, "a call from before", err, ErrBusy)
	_, theirs := s.joinWith("other", 0)
	_, err = s.lendAgain(s.lent, theirs, 10_000)
	wantErr(t, "lent by somebody else", err, ErrGone)
	wantErr(t, "freed by somebody else", s.Free(s.now, s.callee, s.lent), ErrGone)
	future := newest
	future.Generation++
	wantErr(t, "freed by what will be", s.Free(s.now, s.caller, s.signer.sign(future)), ErrGone)
	forged := s.own
	forged.Token[0]++
	wantErr(t, "freed by a forgery", s.Free(s.now, s.caller, forged), ErrForged)
	if err := s.Free(s.now, s.caller, s.own); err != nil {
		t.Error(err)
	}
	next := s.allocate(s.caller, 10, Read)
	if next.ID != s.own.ID {
		t.Fatalf("%v is not where %v was", next, s.own)
	}
	for _, old := range []Handle{s.own, s.lent, newest} {
		wantErr(t, "the next one is freed by a handle of the last one", s.Free(s.now, s.caller, old), ErrGone)
	}
	s.rest(0)
}

// TestAPartOfAnArgument: no more than there is, and only of what the handle is of.
func TestAPartOfAnArgument(t *testing.T) {
	s := newScene(t)
	_, err := s.lendAgain(s.lent, s.account, 10_001)
	wantErr(t, "more than there is", err, ErrRange)
	part := s.share(s.caller, s.own, 100, 50, Read)
	_, err = s.lendAgain(part, s.account, 51)
	wantErr(t, "more than the handle is of", err, ErrRange)
	loan, err := s.lendAgain(part, s.account, 49)
	if err != nil || loan.Args[0].Handle.Offset != 100 || loan.Args[0].Handle.Length != 49 {
		t.Errorf("%+v, %v", loan.Args, err)
	}
	s.end(aCall, Failed)
	s.rest(0)
}

// TestRoomForAResult is a result like one that the callee has asked for, where there is much room.
func TestRoomForAResult(t *testing.T) {
	s := newScene(t)
	if _, err := s.begin(aCall, s.callee, Arg{Handle: s.lent, Mode: In}); err != nil {
		t.Fatal(err)
	}
	room := func(size uint64) (a Arg) {
		err := s.grow(func() (err error) {
			a, _, err = s.Room(s.now, aCall, s.callee, s.account, size)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := room(5_000); a.Handle.Length != 5_000 || a.Mode != Out {
		t.Errorf("there is room: %+v", a)
	}
	for name, l := range map[string]Limits{
		"of the party's bytes": {PartyBytes: 40_000, PartyBlobs: 100, Memory: 1 << 30},
		"of its blobs":         {PartyBytes: 1 << 30, PartyBlobs: 3, Memory: 1 << 30},
		"of the memory":        {PartyBytes: 1 << 30, PartyBlobs: 100, Memory: 8 << 20},
	} {
		s.Limits = l
		if a := room(5_000); a.Handle.Length != 0 {
			t.Errorf("half %s is used, and there is room: %+v", name, a)
		}
	}
	_, _, err := s.Room(s.now, aCall, s.callee, s.lent, 1)
	wantErr(t, "at the cost of no account", err, ErrRights)
	if e := s.end(aCall, Succeeded); len(e.Results) != 0 {
		t.Errorf("a result that nobody has named: %v", e.Results)
	}
	s.rest(0)
}

// usedAgain notes handles by which a model's arguments may be used again.
func (p *play) usedAgain(t failer, ended []Handle) {
	t.Helper()
	for _, h := range p.Again(ended) {
		if slices.Contains(p.handles, h) {
			t.Fatalf("%v was known before", h)
		}
		if b, err := p.find(h); err != nil || len(b.refs) > 0 {
			t.Fatalf("%v may be used again: %v", h, err)
		}
		p.handles = append(p.handles, h)
	}
}
