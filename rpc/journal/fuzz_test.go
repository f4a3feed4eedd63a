package journal

import (
	"slices"
	"testing"
)

// FuzzLoad writes bytes anywhere over a journal. Without right checksums, the list
// is whole or the file refused. With them, it is anything, but it can be read, made
// longer, and read again.
func FuzzLoad(f *testing.F) {
	image, want := written(f)
	r := mustLoad(f, image, bootA)
	start := headerSize + uint32(r.start%r.size)
	f.Add(uint32(0), image[:superSize], true)
	f.Add(uint32(slotAt), image[slotAt:slotAt+slotSize], true)
	f.Add(uint32(2*slotAt), image[2*slotAt:2*slotAt+slotSize], true)
	f.Add(uint32(writtenAt), image[writtenAt:syncedAt+8], true)
	f.Add(start, image[start:start+200], true)
	f.Add(start+16, []byte{1}, false)
	f.Add(uint32(headerSize), image[headerSize:headerSize+400], true)
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, mend bool) {
		image := slices.Clone(image)
		at %= uint32(len(image))
		n := copy(image[at:], patch)
		if mend {
			mendSums(image, int(at), n)
		}
		r, err := load(image, bootA)
		if err != nil {
			if !refused(err) {
				t.Fatal(err)
			}
			return
		}
		got := list(t, r)
		if !mend && !same(got, want) {
			t.Fatalf("%d records, not those %d", len(got), len(want))
		}
		r.begin(bootA, Process)
		if err := r.append([][]byte{[]byte("more")}); err == nil {
			got = append(got, []byte("more"))
		}
		again := mustLoad(t, image, bootA)
		if !same(list(t, again), got) {
			t.Fatalf("%d records, then %d", len(got), again.count)
		}
		end, count, err := again.stage(slices.Values(got))
		if err != nil {
			t.Fatal(err)
		}
		again.commit(end, count)
		if !same(list(t, mustLoad(t, image, bootA)), got) {
			t.Fatal("compacted to other records")
		}
	})
}

// mendSums makes the checksums right of what was written over.
func mendSums(image []byte, at, n int) {
	le.PutUint32(image[12:], superSum(image))
	s, err := parseSuper(image, int64(len(image)))
	if err != nil {
		return
	}
	r := newRing(image, s)
	for _, b := range [][]byte{image[slotAt:], image[2*slotAt:]} {
		le.PutUint32(b, sumOf(b[4:slotSize], s.seed))
	}
	for i := (at - headerSize) &^ 15; i < at-headerSize+n; i += 16 {
		if i < 0 {
			continue
		}
		if length := int(le.Uint32(r.data[i+4:]) &^ bodyBit); length <= r.largest() {
			le.PutUint32(r.data[i:], r.sum(i, length))
		}
	}
}
