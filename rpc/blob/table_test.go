package blob

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"slices"
	"testing"
	"time"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// TestLifeOfABlob goes through all states, and asks in each who may do what.
func TestLifeOfABlob(t *testing.T) {
	w := newWorld(t, Config{})
	owner, other := w.join("owner"), w.join("other")
	h, place, err := w.tryAllocate(owner, 100_000, Read)
	if err != nil || place.Length != 100_000 || !place.Write || place.Offset%Page != 0 {
		t.Fatalf("allocated at %+v, %v", place, err)
	}

	_, _, err = w.Acquire(w.now, other, h, In, 0)
	wantErr(t, "use of what is not shared", err, ErrRights)
	_, _, err = w.Acquire(w.now, other, h, Pin, 0)
	wantErr(t, "pin of what is not shared", err, ErrRights)
	_, err = w.Share(other, h, 0, 1, Read)
	wantErr(t, "share by another", err, ErrRights)
	wantErr(t, "free by another", w.Free(w.now, other, h), ErrRights)
	_, err = w.Share(owner, h, 0, 1, Read|Write)
	wantErr(t, "share with more than the blob is to be lent with", err, ErrRights)

	shared := w.share(owner, h, 0, h.Length, Read)
	ref := w.acquire(other, shared, In)
	_, _, err = w.Acquire(w.now, other, h, InOut, 0)
	wantErr(t, "write by the owner's handle, by another", err, ErrRights)

	if err := w.Free(w.now, owner, h); err != nil {
		t.Fatal(err)
	}
	if s := w.Snapshot(w.now); s.Blobs != 1 || s.Holdings[0].State != Draining || s.Holdings[0].Holder != "other" {
		t.Errorf("let go by its owner, in use by another: %+v", s)
	}
	_, _, err = w.Acquire(w.now, other, shared, Pin, 0)
	wantErr(t, "use of what is let go", err, ErrGone)
	wantErr(t, "free twice", w.Free(w.now, owner, h), ErrGone)

	if err := w.Release(w.now, other, ref); err != nil {
		t.Fatal(err)
	}
	if w.Snapshot(w.now).Blobs != 0 {
		t.Error("nobody has it and it lives")
	}
	wantErr(t, "release twice", w.Release(w.now, other, ref), ErrGone)
	w.audit()
}

func TestAnIdIsUsedAgainAndItsOldHandlesAreNot(t *testing.T) {
	w := newWorld(t, Config{})
	p := w.join("p")
	old := w.allocate(p, 10, Read)
	if err := w.Free(w.now, p, old); err != nil {
		t.Fatal(err)
	}
	again := w.allocate(p, 10, Read)
	if again.ID != old.ID || again.Generation != old.Generation+1 {
		t.Errorf("%v after %v", again, old)
	}
	_, err := w.Locate(p, Call{}, old)
	wantErr(t, "old handle", err, ErrGone)
	if _, err := w.Locate(p, Call{}, again); err != nil {
		t.Error(err)
	}
}

func TestAnIdWhoseGenerationsAreSpentIsNotUsedAgain(t *testing.T) {
	s := &scene{world: newWorld(t, Config{})}
	s.caller, s.account = s.joinWith("caller", 0)
	s.blobs = append(s.blobs, &blob{id: 1, generation: lastGeneration})
	s.unused = append(s.unused, 1)
	if _, err := s.begin(aCall, s.caller, Arg{Handle: s.account, Mode: Out}); err != nil { // the most that one takes
		t.Fatal(err)
	}
	last := s.end(aCall, Succeeded, 0).Results[0]
	if last.ID != 1 || last.Generation != math.MaxUint32 {
		t.Fatalf("%v", last)
	}
	if err := s.Free(s.now, s.caller, last); err != nil {
		t.Fatal(err)
	}
	if next := s.allocate(s.caller, 10, Read); next.ID == 1 {
		t.Errorf("%v after %v", next, last)
	}
}

func TestASliceOnlyNarrows(t *testing.T) {
	w := newWorld(t, Config{})
	owner, other := w.join("owner"), w.join("other")
	h := w.share(owner, w.allocate(owner, 1000, Read|Write), 100, 800, Read)
	part, err := w.Slice(h, 10, 50, Read)
	if err != nil || part.Offset != 110 || part.Length != 50 {
		t.Fatalf("%v, %v", part, err)
	}
	_, place, err := w.Acquire(w.now, other, part, In, 0)
	if err != nil || place.Offset%Page != 110 || place.Length != 50 || place.Write {
		t.Errorf("part is at %+v, %v", place, err)
	}
	for name, c := range map[string]struct {
		offset, length uint64
		rights         Rights
		want           error
	}{
		"beyond its end":      {1, 50, Read, ErrRange},
		"behind its end":      {51, 0, Read, ErrRange},
		"a length that wraps": {1, math.MaxUint64, Read, ErrRange},
		"more rights":         {0, 50, Read | Write, ErrRights},
		"the right to pay":    {0, 50, Pay, ErrRights},
		"no rights":           {0, 50, 0, ErrRights},
	} {
		_, err := w.Slice(part, c.offset, c.length, c.rights)
		wantErr(t, name, err, c.want)
	}
	if empty, err := w.Slice(part, 50, 0, Read); err != nil || empty.Length != 0 {
		t.Errorf("nothing at its end: %v, %v", empty, err)
	}
}

func TestWritersAreAlone(t *testing.T) {
	w := newWorld(t, Config{})
	owner, a, b := w.join("owner"), w.join("a"), w.join("b")
	h := w.allocate(owner, 1000, Read|Write)
	left, right := w.share(owner, h, 0, 500, Read|Write), w.share(owner, h, 500, 500, Read|Write)

	w.acquire(a, left, In)
	reader := w.acquire(b, left, In)
	writer := w.acquire(b, right, InOut)
	_, _, err := w.Acquire(w.now, b, left, InOut, 0)
	wantErr(t, "write what others read", err, ErrBusy)
	_, _, err = w.Acquire(w.now, a, right, In, 0)
	wantErr(t, "read what others write", err, ErrBusy)
	w.acquire(a, right, Pin) // keeps it, and does not look
	w.audit()

	if err := w.Release(w.now, b, writer); err != nil {
		t.Fatal(err)
	}
	w.acquire(a, right, In)
	wantErr(t, "release what is of another", w.Release(w.now, a, reader), ErrGone)
}

func TestWhatAPartyHasGoesWithIt(t *testing.T) {
	w := newWorld(t, Config{})
	owner, other := w.join("owner"), w.join("other")
	kept := w.share(owner, w.allocate(owner, 1000, Read), 0, 1000, Read)
	w.allocate(owner, 2000, Read)
	theirs := w.share(other, w.allocate(other, 10, Read), 0, 10, Read)
	w.acquire(owner, theirs, In)
	ref := w.acquire(other, kept, In)

	w.Leave(w.now, owner)
	w.Leave(w.now, owner) // told by two
	w.give()
	w.audit()
	if s := w.Snapshot(w.now); s.Blobs != 2 || s.Segments != 2 {
		t.Errorf("what another uses stays, and nothing else: %+v", s)
	}
	_, _, err := w.tryAllocate(owner, 1, Read)
	wantErr(t, "allocate when dead", err, ErrParty)
	wantErr(t, "renew when dead", w.Renew(w.now, owner), ErrParty)
	wantErr(t, "release when dead", w.Release(w.now, owner, 1), ErrParty)
	_, _, err = w.Acquire(w.now, owner, theirs, In, 0)
	wantErr(t, "acquire when dead", err, ErrParty)

	if err := w.Release(w.now, other, ref); err != nil {
		t.Fatal(err)
	}
	w.give()
	if s := w.Snapshot(w.now); s.Blobs != 1 || s.Segments != 1 || len(w.segments) != 1 {
		t.Errorf("memory of the dead is left: %+v", s)
	}
}

// TestWhatIsBorrowedStaysWhenItsPartyGoes: a device may still write it.
func TestWhatIsBorrowedStaysWhenItsPartyGoes(t *testing.T) {
	w := newWorld(t, Config{})
	owner, other := w.join("owner"), w.join("other")
	h := w.allocate(owner, 1000, Read)
	ref, place, err := w.Borrow(w.now, owner, h, InOut)
	if err != nil || !place.Write || place.Length != 1000 {
		t.Fatalf("borrowed at %+v, %v", place, err)
	}
	_, _, err = w.Borrow(w.now, owner, h, In)
	wantErr(t, "what is being written is borrowed to be read", err, ErrBusy)
	var busy *BusyError
	if !errors.As(err, &busy) || busy.Ending || busy.Holder != "owner" {
		t.Errorf("in the way is %+v", busy)
	}
	w.Ending(ref)
	if _, _, err = w.Borrow(w.now, owner, h, In); !errors.As(err, &busy) || !busy.Ending {
		t.Errorf("in the way is %+v, which is about to end", busy)
	}
	_, _, err = w.Borrow(w.now, other, h, In)
	wantErr(t, "borrow what is not shared", err, ErrRights)
	_, _, err = w.Borrow(w.now, owner, h, Pin)
	wantErr(t, "borrow to do nothing", err, ErrRights)

	w.Leave(w.now, owner)
	w.give()
	w.audit()
	if s := w.Snapshot(w.now); s.Blobs != 1 || len(w.segments) != 1 {
		t.Errorf("what is borrowed went with its party: %+v", s)
	}
	if err := w.Return(w.now, ref); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "return it twice", w.Return(w.now, ref), ErrGone)
	w.give()
	w.audit()
	if s := w.Snapshot(w.now); s.Blobs != 0 || len(w.segments) != 0 {
		t.Errorf("left: %+v", s)
	}
}

func TestLeases(t *testing.T) {
	w := newWorld(t, Config{})
	owner := w.join("owner")
	far, _ := w.joinWith("far", 5*time.Minute)
	h := w.share(owner, w.allocate(owner, 1000, Read), 0, 1000, Read)
	w.acquire(far, h, In)
	if _, _, err := w.Acquire(w.now, far, h, Pin, time.Minute); err != nil {
		t.Fatal(err)
	}
	holdings := func() int { return len(w.Snapshot(w.now).Holdings) - 1 }

	w.later(time.Minute - 1)
	if n := holdings(); n != 2 {
		t.Errorf("%d references before any lease is over", n)
	}
	w.later(1)
	if n := holdings(); n != 1 {
		t.Errorf("%d references, the lease of one is over", n)
	}
	if err := w.Renew(w.now, far); err != nil {
		t.Fatal(err)
	}
	w.later(5*time.Minute - 1)
	if n := holdings(); n != 1 {
		t.Errorf("%d references, the party has renewed its lease", n)
	}
	w.later(1)
	if n := holdings(); n != 0 {
		t.Errorf("%d references, the party's lease is over", n)
	}
	w.later(time.Hour)
	if w.Snapshot(w.now).Parties != 1 {
		t.Error("a party without a lease is gone")
	}
}

func TestQuotas(t *testing.T) {
	w := newWorld(t, Config{Limits: Limits{Memory: 16 << 20, PartyBytes: 6 << 20, PartyBlobs: 3, Parties: 3}})
	a, b, c := w.join("a"), w.join("b"), w.join("c")
	_, _, err := w.Join(w.now, "d", 0)
	wantErr(t, "a party too many", err, ErrQuota)

	first := w.allocate(a, 4<<20, Read)
	_, _, err = w.tryAllocate(a, 2<<20+1, Read)
	wantErr(t, "bytes of a party", err, ErrQuota)
	var quota *QuotaError
	if !errors.As(err, &quota) || quota.Party != "a" || quota.Have != 4<<20 || quota.Limit != 6<<20 {
		t.Errorf("it says %+v", quota)
	}
	w.allocate(a, 1, Read)
	w.allocate(a, 1, Read)
	_, _, err = w.tryAllocate(a, 1, Read)
	wantErr(t, "blobs of a party", err, ErrQuota)

	w.allocate(b, 5<<20, Read)
	_, _, err = w.tryAllocate(c, 5<<20, Read)
	wantErr(t, "memory of all", err, ErrQuota)
	_, _, err = w.tryAllocate(c, math.MaxUint64, Read)
	wantErr(t, "more than there is", err, ErrQuota)

	if err := w.Free(w.now, a, first); err != nil {
		t.Fatal(err)
	}
	w.allocate(a, 1, Read) // a has room again
	w.audit()
}

// TestMemoryThatIsKeptGoesToWhoNeedsIt: an empty segment is kept for its owner until
// another wants the memory.
func TestMemoryThatIsKeptGoesToWhoNeedsIt(t *testing.T) {
	w := newWorld(t, Config{Limits: Limits{Memory: 8 << 20}})
	a, b := w.join("a"), w.join("b")
	if err := w.Free(w.now, a, w.allocate(a, 3<<20, Read)); err != nil {
		t.Fatal(err)
	}
	if w.memory() != 4<<20 {
		t.Fatalf("%d bytes are kept", w.memory())
	}
	w.allocate(b, 5<<20, Read)
	if w.memory() > 8<<20 {
		t.Errorf("%d bytes are there", w.memory())
	}
	w.audit()
}

func TestSegmentsAreKeptForAWhile(t *testing.T) {
	w := newWorld(t, Config{Idle: time.Second})
	p := w.join("p")
	for range 3 { // a program that uses a blob after the other
		h := w.allocate(p, 1<<20, Read)
		w.later(time.Minute)
		if err := w.Free(w.now, p, h); err != nil {
			t.Fatal(err)
		}
		w.later(time.Second - 1)
	}
	if w.arenas.last != 1 {
		t.Errorf("%d segments were made", w.arenas.last)
	}
	w.later(1)
	if w.memory() != 0 {
		t.Errorf("%d bytes are kept", w.memory())
	}
}

// TestManyBlobsAreInFewSegments: set-up is paid by segment, not by blob (S2.24).
func TestManyBlobsAreInFewSegments(t *testing.T) {
	w := newWorld(t, Config{Limits: Limits{PartyBlobs: 200_000}})
	p := w.join("p")
	for range 100_000 {
		w.allocate(p, 4096, Read)
	}
	if n := len(w.segments); n > 10 {
		t.Errorf("%d segments", n)
	}
}

// TestAPartyCannotTakeAllMemoryByLeavingHoles: it keeps one page of each segment.
func TestAPartyCannotTakeAllMemoryByLeavingHoles(t *testing.T) {
	w := newWorld(t, Config{Limits: Limits{PartyBytes: 8 << 20}, Segment: 4 << 20})
	p := w.join("p")
	for range 100 {
		_, _, err1 := w.tryAllocate(p, 4096, Read)
		h, _, err2 := w.tryAllocate(p, 2<<20, Read)
		if err1 != nil || err2 != nil {
			wantErr(t, "one segment more", errors.Join(err1, err2), ErrQuota)
			break
		}
		if err := w.Free(w.now, p, h); err != nil {
			t.Fatal(err)
		}
	}
	if w.memory() > 24<<20 {
		t.Errorf("%d bytes of segments", w.memory())
	}
}

// TestHolesOfOnePartyLeaveSomeMemoryToOthers: it may have half of it.
func TestHolesOfOnePartyLeaveSomeMemoryToOthers(t *testing.T) {
	w := newWorld(t, Config{Limits: Limits{Memory: 64 << 20, PartyBytes: 32 << 20}, Segment: 8 << 20})
	p, other := w.join("p"), w.join("other")
	var between []Handle
	for range 32 {
		between = append(between, w.allocate(p, 7<<17, Read))
		w.allocate(p, 1<<17, Read)
	}
	for _, h := range between {
		if err := w.Free(w.now, p, h); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	for err == nil { // none fits between those that are left
		_, _, err = w.tryAllocate(p, 4<<20, Read)
	}
	wantErr(t, "one more", err, ErrQuota)
	if n := w.memory(); n < 40<<20 {
		t.Errorf("%d bytes of segments: there are no holes", n)
	}
	w.allocate(other, 16<<20, Read)
}

// TestReferencesAreBounded: one who takes more of one blob than it may have blobs is refused, and pays with what it
// lets go of.
func TestReferencesAreBounded(t *testing.T) {
	w := newWorld(t, Config{Limits: Limits{PartyBlobs: 3}})
	owner, greedy, other := w.join("owner"), w.join("greedy"), w.join("other")
	h := w.share(owner, w.allocate(owner, 100, Read), 0, 100, Read)
	var refs []RefID
	for range 3 {
		refs = append(refs, w.acquire(greedy, h, In))
	}
	_, _, err := w.Acquire(w.now, greedy, h, In, 0)
	wantErr(t, "one more", err, ErrQuota)
	_, _, err = w.Acquire(w.now, greedy, h, Pin, time.Hour)
	wantErr(t, "one more, with a lease", err, ErrQuota)
	w.acquire(other, h, In)
	if err := w.Release(w.now, greedy, refs[1]); err != nil {
		t.Error(err)
	}
	w.acquire(greedy, h, In)
	w.audit()
}
