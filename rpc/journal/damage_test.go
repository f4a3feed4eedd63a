package journal

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// written is a journal with a body, records of two lives and one over the ring's
// end, as a killed process has left it.
func written(t testing.TB) (image []byte, want [][]byte) {
	image = newImage()
	r := mustLoad(t, image, bootA)
	r.begin(bootA, Process)
	advance(t, r, minSize-304)
	end, count, err := r.stage(slices.Values([][]byte{payload(1, 40), payload(2, 90)}))
	if err != nil {
		t.Fatal(err)
	}
	r.commit(end, count)
	for i := range uint64(3) {
		if err := r.append([][]byte{payload(10+i, 33)}); err != nil {
			t.Fatal(err)
		}
	}
	r = mustLoad(t, image, bootA)
	r.begin(bootA, Process)
	for i := range uint64(3) {
		if err := r.append([][]byte{payload(20+i, 64)}); err != nil {
			t.Fatal(err)
		}
	}
	return image, list(t, r)
}

// TestEveryFlippedBitIsSeen: with one bit wrong, anywhere, either the list is as
// long and as right as ever, or the file is refused.
func TestEveryFlippedBitIsSeen(t *testing.T) {
	image, want := written(t)
	r := mustLoad(t, image, bootA)
	silent, refusals := 0, 0
	for at := range image {
		inHeader := at < syncedAt+16
		inList := (uint64(at)-headerSize+r.size-r.start%r.size)%r.size < r.head-r.start+64
		if !inHeader && (at < headerSize || !inList) {
			continue
		}
		for bit := range 8 {
			image[at] ^= 1 << bit
			switch damaged, err := load(image, bootA); {
			case err != nil && !refused(err):
				t.Fatalf("byte %d, bit %d: %v", at, bit, err)
			case err != nil:
				refusals++
			case !same(list(t, damaged), want):
				t.Fatalf("byte %d, bit %d: the list is %q", at, bit, list(t, damaged))
			default:
				silent++
			}
			image[at] ^= 1 << bit
		}
	}
	t.Logf("%d flips refused, %d without effect", refusals, silent)
	if refusals < 3000 {
		t.Errorf("only %d flips were refused", refusals)
	}
}

// TestDamage: files that are no whole journal are refused by an error that says why.
func TestDamage(t *testing.T) {
	cases := []struct {
		name string
		do   func(image []byte) []byte
		want error
		text string
	}{
		{"empty", func([]byte) []byte { return nil }, ErrForeign, ""},
		{"a text", func(b []byte) []byte { copy(b, "#!/bin/sh\n"); return b }, ErrForeign, ""},
		{"all zeros", func(b []byte) []byte { clear(b); return b }, ErrForeign, ""},
		{"header only", func(b []byte) []byte { return b[:headerSize] }, ErrCorrupt, "has 4096 bytes, not 20480"},
		{"half a header", func(b []byte) []byte { return b[:headerSize/2] }, ErrForeign, ""},
		{"one byte short", func(b []byte) []byte { return b[:len(b)-1] }, ErrCorrupt, "has 20479 bytes"},
		{"one byte long", func(b []byte) []byte { return append(b, 0) }, ErrCorrupt, "has 20481 bytes"},
		{"of a later version", func(b []byte) []byte { b[8] = 2; return b }, ErrVersion, "2, this program knows 1"},
		{"with other bytes in its first sector", func(b []byte) []byte { b[40]++; return b }, ErrCorrupt, "first sector"},
		{"without slots", func(b []byte) []byte { clear(b[slotAt:writtenAt]); return b }, ErrCorrupt, "slots"},
		{"with slots of another file", func(b []byte) []byte {
			s := slot{}
			s.encode(b[slotAt:], 1)
			s.encode(b[2*slotAt:], 1)
			return b
		}, ErrCorrupt, "slots"},
		{"without its ring", func(b []byte) []byte { clear(b[headerSize:]); return b }, ErrCorrupt, "its list of 0 records ends at"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			image, _ := written(t)
			_, err := load(c.do(image), bootA)
			if err == nil || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("%v, want %v with %q", err, c.want, c.text)
			}
		})
	}
}

// TestFileCutAnywhere: a file of any shorter length is refused.
func TestFileCutAnywhere(t *testing.T) {
	image, _ := written(t)
	for n := range image {
		if _, err := load(image[:n], bootA); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrForeign) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

// TestImpossibleSlots: numbers that are whole, and make no sense, are refused.
func TestImpossibleSlots(t *testing.T) {
	cases := []struct {
		name string
		do   func(s *slot)
	}{
		{"a start between two records", func(s *slot) { s.start++ }},
		{"a body between two records", func(s *slot) { s.body++ }},
		{"a body that ends before it starts", func(s *slot) { s.body = s.start - 16 }},
		{"a body longer than any list", func(s *slot) { s.body = s.start + minSize }},
		{"a start elsewhere", func(s *slot) { s.start -= 16 }},
		{"a body that is shorter", func(s *slot) { s.body -= 16 }},
		{"a body that is longer", func(s *slot) { s.body += 64 }},
		{"a list of a later life", func(s *slot) { s.since = s.life }},
		{"a list of no life", func(s *slot) { s.since = 0 }},
		{"a list of a life to come", func(s *slot) { s.since = s.life + 1 }},
		{"a policy that there is not", func(s *slot) { s.policy = Each + 1 }},
		{"a life before that of the records", func(s *slot) { s.life = 1 }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			image, _ := written(t)
			r := mustLoad(t, image, bootA)
			s := r.slot
			c.do(&s)
			s.encode(image[slotAt+slotAt*(s.number%2):], r.seed)
			if _, err := load(image, bootA); !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
		})
	}
}

// TestAListLongerThanHalfTheRing is not one that was written.
func TestAListLongerThanHalfTheRing(t *testing.T) {
	image := newImage()
	r := mustLoad(t, image, bootA)
	r.begin(bootA, Batch)
	r.limit = r.size
	for r.head < r.size-space(1100) {
		if err := r.append([][]byte{payload(1, 1100)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := load(image, bootA); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if r := mustLoad(t, image, bootB); r.head > r.size/2 {
		t.Fatalf("%d bytes", r.head)
	}
}

// TestABodyIsWholeOrDamaged: what a compaction has written was on disk before the
// slot that says so, even if the marks are older.
func TestABodyIsWholeOrDamaged(t *testing.T) {
	image := newImage()
	r := mustLoad(t, image, bootA)
	r.begin(bootA, Batch)
	end, count, err := r.stage(slices.Values([][]byte{payload(1, 100), payload(2, 100)}))
	if err != nil {
		t.Fatal(err)
	}
	r.commit(end, count)
	r.written(0)
	for _, boot := range []BootID{bootA, bootB} {
		if got := mustLoad(t, image, boot); got.count != 2 {
			t.Fatalf("%d records", got.count)
		}
	}
	image[headerSize+space(100)+50]++
	for _, boot := range []BootID{bootA, bootB} {
		if _, err := load(image, boot); !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	}
}

// TestWhatAMachineMayLose: after a restart of the machine, what was never promised may
// be missing, and what was is there, or it is said that it is not.
func TestWhatAMachineMayLose(t *testing.T) {
	life := func(policy Policy, after func(r *ring)) []byte {
		image := newImage()
		r := mustLoad(t, image, bootA)
		r.begin(bootA, policy)
		for i := range uint64(4) {
			if err := r.append([][]byte{payload(i, 64)}); err != nil {
				t.Fatal(err)
			}
			if i == 1 {
				r.synced(r.head)
			}
		}
		after(r)
		return image
	}
	nothing := func(*ring) {}
	lastIsGone := func(r *ring) { clear(r.data[r.head-80 : r.head]) }
	firstIsGone := func(r *ring) { clear(r.data[:80]) }
	untold := func(r *ring) {
		s := r.slot
		s.boot = BootID{}
		r.write(s)
	}
	cases := []struct {
		name   string
		policy Policy
		boot   BootID
		after  func(r *ring)
		want   int
		err    error
	}{
		{"process: the process died", Process, bootA, nothing, 4, nil},
		{"process: the machine died", Process, bootB, nothing, 0, ErrLost},
		{"process: closed before the machine died", Process, bootB, (*ring).end, 4, nil},
		{"process: closed, and the disk has lied", Process, bootB, func(r *ring) { r.end(); lastIsGone(r) }, 0, ErrCorrupt},
		{"process: a machine that did not tell its boots", Process, bootA, untold, 0, ErrLost},
		{"process: a machine that does not tell its boots", Process, BootID{}, untold, 0, ErrLost},
		{"batch: a machine that does not tell its boots", Batch, BootID{}, untold, 4, nil},
		{"batch: the process died", Batch, bootA, nothing, 4, nil},
		{"batch: the process died, and a record is damaged", Batch, bootA, lastIsGone, 0, ErrCorrupt},
		{"batch: the machine died", Batch, bootB, nothing, 4, nil},
		{"batch: the machine died before the last sync", Batch, bootB, lastIsGone, 3, nil},
		{"batch: the machine died, and the disk has lied", Batch, bootB, firstIsGone, 0, ErrCorrupt},
		{"each: the disk failed", Each, bootA, (*ring).fail, 0, ErrLost},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, err := load(life(c.policy, c.after), c.boot)
			if !errors.Is(err, c.err) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			if err == nil && len(list(t, r)) != c.want {
				t.Fatalf("%d records, want %d", r.count, c.want)
			}
		})
	}
}

// TestAPeersBytesAreNoRecord: a payload that looks like the records that would
// follow is not taken for them, at whichever place the list ends.
func TestAPeersBytesAreNoRecord(t *testing.T) {
	image := newImage()
	r := mustLoad(t, image, bootA)
	r.begin(bootA, Process)
	forged := newImage() // the attacker knows all but the seed
	f := newRing(forged, super{size: minSize, seed: r.seed + 1})
	f.life, f.start, f.limit = r.life, minSize, minSize
	for f.head = minSize; f.head < minSize+1024; {
		if err := f.append([][]byte{nil}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.append([][]byte{f.data[recordHeader:1024]}); err != nil {
		t.Fatal(err)
	}
	r.commit(r.head, 0)
	advance(t, r, minSize)
	for range 100 { // the list ends in the old payload each time
		if got := mustLoad(t, image, bootA); got.head != r.head {
			t.Fatalf("the list ends at %d, not %d", got.head, r.head)
		}
		if err := r.append([][]byte{nil}); err != nil {
			t.Fatal(err)
		}
	}
}
