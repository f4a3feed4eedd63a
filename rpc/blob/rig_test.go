package blob

import (
	"errors"
	"slices"
	"time"
)

// failer is what can fail: a test, a check of a property.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// world is a table with a clock, and somebody who has all the memory it asks for.
type world struct {
	*Table
	t        failer
	now      time.Duration
	segments map[SegmentID]uint64 // bytes
}

func newWorld(t failer, c Config) *world {
	if c.Domain == (Domain{}) {
		c.Domain, c.Key = Domain{1}, Key{1}
	}
	return &world{Table: NewTable(c), t: t, segments: map[SegmentID]uint64{}}
}

// grow does something until no more memory is needed for it.
func (w *world) grow(do func() error) error {
	w.t.Helper()
	for range 10 {
		err := do()
		w.give()
		var need *Need
		if !errors.As(err, &need) {
			return err
		}
		id := w.Grow(w.now, need)
		if _, twice := w.segments[id]; twice {
			w.t.Fatalf("segment %d is made twice", id)
		}
		w.segments[id] = need.Bytes
	}
	w.t.Fatal("it never has enough memory")
	return nil
}

// give gives back the memory that is not used any more.
func (w *world) give() {
	for _, id := range w.Retired() {
		if _, ok := w.segments[id]; !ok {
			w.t.Fatalf("segment %d is given back and was not there", id)
		}
		delete(w.segments, id)
	}
}

func (w *world) memory() (bytes uint64) {
	for _, n := range w.segments {
		bytes += n
	}
	return bytes
}

func (w *world) join(name string) PartyID {
	w.t.Helper()
	id, _ := w.joinWith(name, 0)
	return id
}

func (w *world) joinWith(name string, lease time.Duration) (PartyID, Handle) {
	w.t.Helper()
	id, account, err := w.Join(w.now, name, lease)
	if err != nil {
		w.t.Fatal(err)
	}
	return id, account
}

func (w *world) tryAllocate(owner PartyID, size uint64, lend Rights) (h Handle, p Place, err error) {
	w.t.Helper()
	err = w.grow(func() error {
		h, p, err = w.Allocate(w.now, owner, size, lend)
		return err
	})
	return h, p, err
}

func (w *world) allocate(owner PartyID, size uint64, lend Rights) Handle {
	w.t.Helper()
	h, _, err := w.tryAllocate(owner, size, lend)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func (w *world) share(owner PartyID, h Handle, offset, length uint64, rights Rights) Handle {
	w.t.Helper()
	h, err := w.Share(owner, h, offset, length, rights)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func (w *world) acquire(id PartyID, h Handle, mode Mode) RefID {
	w.t.Helper()
	r, _, err := w.Acquire(w.now, id, h, mode, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) begin(call Call, callee PartyID, args ...Arg) (l Loan, err error) {
	w.t.Helper()
	err = w.grow(func() error {
		l, err = w.Begin(w.now, call, callee, args)
		return err
	})
	return l, err
}

// end ends a call and gives back what it has borrowed.
func (w *world) end(call Call, outcome Outcome, written ...uint64) Ended {
	w.t.Helper()
	e, err := w.End(call, outcome, w.made(call, written...))
	if err == nil {
		err = w.Settle(w.now, call)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.give()
	return e
}

// made are the handles of a call's results that are so long.
func (w *world) made(call Call, written ...uint64) (made []Handle) {
	for _, a := range w.loans[call].args {
		if a.mode == Out && len(made) < len(written) {
			h := w.handle(a.blob, Read|Write)
			h.Length = written[len(made)]
			made = append(made, h)
		}
	}
	return made
}

// later lets time pass.
func (w *world) later(d time.Duration) []Call {
	w.now += d
	crashed := w.Expire(w.now)
	w.give()
	return crashed
}

// audit checks what is true of every table at all times.
func (w *world) audit() {
	w.t.Helper()
	live := slices.DeleteFunc(slices.Clone(w.blobs), func(b *blob) bool { return b.state == Freed })
	if uint64(len(live)) != w.live {
		w.t.Fatalf("%d blobs live, counted %d", len(live), w.live)
	}
	counts, bytes := map[PartyID]uint64{}, map[PartyID]uint64{}
	taken := map[SegmentID]uint64{}
	for i, b := range live {
		if b.owner == nil && len(b.refs) == 0 {
			w.t.Fatalf("blob %d is of nobody and not freed", b.id)
		}
		if w.segments[b.where.segment.id] < (uint64(b.where.first)+b.where.pages)*Page {
			w.t.Fatalf("blob %d is not within memory that is there", b.id)
		}
		if b.where.pages*Page < b.size {
			w.t.Fatalf("blob %d has %d bytes in %d pages", b.id, b.size, b.where.pages)
		}
		for _, o := range live[:i] {
			if o.where.segment == b.where.segment && uint64(o.where.first) < uint64(b.where.first)+b.where.pages &&
				uint64(b.where.first) < uint64(o.where.first)+o.where.pages {
				w.t.Fatalf("blobs %d and %d are in the same place", o.id, b.id)
			}
			if o.where.segment == b.where.segment && o.payer != b.payer {
				w.t.Fatalf("blobs %d and %d of two parties are in the same segment", o.id, b.id)
			}
		}
		if b.pending && !slices.ContainsFunc(b.refs, func(r *ref) bool { return r.mode == Out }) {
			w.t.Fatalf("blob %d waits for the end of a call that has ended", b.id)
		}
		auditUse(w.t, b)
		counts[b.payer.id]++
		bytes[b.payer.id] += b.where.pages * Page
		taken[b.where.segment.id] += b.where.pages
	}
	for id, p := range w.parties {
		if p.count != counts[id] || p.bytes != bytes[id] {
			w.t.Fatalf("party %d has %d blobs of %d bytes, counted %d of %d", id, counts[id], bytes[id], p.count, p.bytes)
		}
	}
	for _, segments := range w.arenas.groups {
		for _, s := range segments {
			if s.runs != nil && s.runs.taken != taken[s.id] {
				w.t.Fatalf("segment %d has %d pages taken, counted %d", s.id, taken[s.id], s.runs.taken)
			}
		}
	}
	if w.memory() != w.arenas.total {
		w.t.Fatalf("%d bytes of segments, counted %d", w.memory(), w.arenas.total)
	}
}

// auditUse checks that nobody uses bytes that somebody writes.
func auditUse(t failer, b *blob) {
	t.Helper()
	for i, r := range b.refs {
		for _, o := range b.refs[:i] {
			if r.mode != Pin && o.mode != Pin && (r.mode.writes() || o.mode.writes()) && r.offset < o.until && o.offset < r.until {
				t.Fatalf("blob %d: %v and %v of the same bytes", b.id, r.mode, o.mode)
			}
		}
	}
}
