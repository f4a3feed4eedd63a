package journal

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// stores are the bytes that an operation has changed in an image.
type stores struct {
	before, after []byte
	at            []int
}

// between finds the stores, without those that skip says.
func between(before, after []byte, skip func(at int) bool) stores {
	s := stores{before: before, after: after}
	for i := range before {
		if before[i] != after[i] && !skip(i) {
			s.at = append(s.at, i)
		}
	}
	return s
}

// tears calls back with an image for every way in which the stores are cut short:
// after each byte, upwards and downwards; and each byte missing, or alone.
func (s stores) tears(try func(how string, image []byte)) {
	down := slices.Clone(s.at)
	slices.Reverse(down)
	for name, order := range map[string][]int{"up": s.at, "down": down} {
		image := slices.Clone(s.before)
		for k, at := range order {
			try(fmt.Sprintf("%s, %d of %d bytes", name, k, len(order)), image)
			image[at] = s.after[at]
		}
		try(name+", all", image)
	}
	missing, alone := slices.Clone(s.before), slices.Clone(s.before)
	for _, at := range s.at {
		missing[at] = s.after[at]
	}
	for _, at := range s.at {
		missing[at], alone[at] = s.before[at], s.after[at]
		try(fmt.Sprintf("without byte %d", at), missing)
		try(fmt.Sprintf("only byte %d", at), alone)
		missing[at], alone[at] = s.after[at], s.before[at]
	}
}

func isMark(at int) bool { return at >= writtenAt && at < syncedAt+8 }

func none(int) bool { return false }

// places are heads at which a record lies differently in the ring.
var places = []struct {
	name string
	head uint64
}{
	{"at the begin", 0},
	{"in the middle", 5008},
	{"its header is the ring's end", minSize - 16},
	{"its payload goes over the end", minSize - 48},
	{"in the second round", 2*minSize + 4096},
}

// TestAppendTornAtEveryByte: whatever part of an append there is, the list is as
// before or as after it. If even the mark is there that says that all is, and
// all is not, that is seen.
func TestAppendTornAtEveryByte(t *testing.T) {
	for _, place := range places {
		for _, size := range []int{0, 1, 8, 15, 16, 64, 200} {
			t.Run(fmt.Sprintf("%s, %d bytes", place.name, size), func(t *testing.T) {
				image := newImage()
				r := mustLoad(t, image, bootA)
				r.begin(bootA, Process)
				advance(t, r, place.head)
				if err := r.append([][]byte{[]byte("earlier")}); err != nil {
					t.Fatal(err)
				}
				r.commit(r.head, 0)
				advance(t, r, place.head+2*minSize) // what lies there is of an earlier round
				before, want := slices.Clone(image), list(t, r)
				record := payload(9, max(size, 8))[:size]
				if err := r.append([][]byte{record}); err != nil {
					t.Fatal(err)
				}
				longer := append(slices.Clone(want), record)
				between(before, image, isMark).tears(func(how string, torn []byte) {
					r, err := load(torn, bootA)
					if err != nil {
						t.Fatalf("%s: %v", how, err)
					}
					if got := list(t, r); !same(got, want) && !same(got, longer) {
						t.Fatalf("%s: %q", how, got)
					}
				})
				between(before, image, none).tears(func(how string, torn []byte) {
					r, err := load(torn, bootA)
					switch {
					case errors.Is(err, ErrCorrupt):
					case err != nil:
						t.Fatalf("%s: %v", how, err)
					case !same(list(t, r), want) && !same(list(t, r), longer):
						t.Fatalf("%s: %q", how, list(t, r))
					}
				})
			})
		}
	}
}

// TestCompactTornAtEveryByte: the list is the old one until the slot is whole.
func TestCompactTornAtEveryByte(t *testing.T) {
	for _, place := range places {
		t.Run(place.name, func(t *testing.T) {
			image := newImage()
			r := mustLoad(t, image, bootA)
			r.begin(bootA, Process)
			advance(t, r, place.head)
			for i := range uint64(4) {
				if err := r.append([][]byte{payload(i, 30)}); err != nil {
					t.Fatal(err)
				}
			}
			old := list(t, r)
			fresh := [][]byte{payload(10, 40), nil, payload(11, 64)}
			before := slices.Clone(image)
			end, count, err := r.stage(slices.Values(fresh))
			if err != nil {
				t.Fatal(err)
			}
			staged := slices.Clone(image)
			r.commit(end, count)
			mark := r.image[writtenAt : writtenAt+8]

			between(before, staged, none).tears(func(how string, torn []byte) {
				if got := list(t, mustLoad(t, torn, bootA)); !same(got, old) {
					t.Fatalf("staged, %s: %q", how, got)
				}
			})
			between(staged, image, isMark).tears(func(how string, torn []byte) {
				got := list(t, mustLoad(t, torn, bootA))
				if !same(got, old) && !same(got, fresh) {
					t.Fatalf("committed, %s: %q", how, got)
				}
				copy(torn[writtenAt:], mark) // is never there before all of the slot
				switch r, err := load(torn, bootA); {
				case errors.Is(err, ErrCorrupt):
				case err != nil:
					t.Fatalf("marked, %s: %v", how, err)
				case !same(list(t, r), fresh):
					t.Fatalf("marked, %s: %q", how, list(t, r))
				}
				copy(torn[writtenAt:], staged[writtenAt:writtenAt+8])
			})
			if got := list(t, mustLoad(t, image, bootA)); !same(got, fresh) {
				t.Fatalf("whole: %q", got)
			}
		})
	}
}

// TestHeaderTornAtEveryByte: a life that begins or ends in the middle of a store
// leaves the list alone.
func TestHeaderTornAtEveryByte(t *testing.T) {
	image := newImage()
	r := mustLoad(t, image, bootA)
	r.begin(bootA, Batch)
	for i := range uint64(5) {
		if err := r.append([][]byte{payload(i, 50)}); err != nil {
			t.Fatal(err)
		}
	}
	want := list(t, r)
	steps := []struct {
		name string
		do   func(r *ring)
	}{
		{"sync", func(r *ring) { r.synced(r.head) }},
		{"end", (*ring).end},
		{"begin", func(r *ring) { r.begin(bootA, Each) }},
		{"begin again", func(r *ring) { r.begin(bootA, Process) }},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			before := slices.Clone(image)
			step.do(r)
			between(before, image, none).tears(func(how string, torn []byte) {
				if got := list(t, mustLoad(t, torn, bootA)); !same(got, want) {
					t.Fatalf("%s: %q", how, got)
				}
			})
		})
	}
}

// TestGhostsBehindAnEmptyList: nor when the list begins anew just there.
func TestGhostsBehindAnEmptyList(t *testing.T) {
	image := newImage()
	r := mustLoad(t, image, bootA)
	r.begin(bootA, Each)
	for i := range uint64(3) {
		if err := r.append([][]byte{payload(i, 64)}); err != nil {
			t.Fatal(err)
		}
	}
	clear(image[headerSize : headerSize+80])
	r = mustLoad(t, image, bootB)
	r.begin(bootB, Each)
	if err := r.append([][]byte{payload(10, 64)}); err != nil {
		t.Fatal(err)
	}
	r.commit(r.head, 0)
	if got := list(t, mustLoad(t, image, bootB)); len(got) != 0 {
		t.Fatalf("%d records", len(got))
	}
}

// TestGhostsStayDead: what lay behind a record that was torn is not believed when
// one of the same length is put in its place.
func TestGhostsStayDead(t *testing.T) {
	image := newImage()
	r := mustLoad(t, image, bootA)
	r.begin(bootA, Each)
	r.synced(0)
	for i := range uint64(3) {
		if err := r.append([][]byte{payload(i, 64)}); err != nil {
			t.Fatal(err)
		}
	}
	clear(image[headerSize : headerSize+80]) // the machine dies; of the three, the first is not on disk
	r = mustLoad(t, image, bootB)
	if r.count != 0 {
		t.Fatalf("%d records before the hole", r.count)
	}
	r.begin(bootB, Each)
	for i := range uint64(3) {
		got := list(t, mustLoad(t, image, bootB))
		if len(got) != int(i) {
			t.Fatalf("%d records, %d appended", len(got), i)
		}
		if err := r.append([][]byte{payload(10+i, 64)}); err != nil {
			t.Fatal(err)
		}
	}
	r = mustLoad(t, image, bootB)
	r.begin(bootB, Each)
	end, count, err := r.stage(slices.Values(list(t, r))) // a compaction that is cut short
	if err != nil || count != 3 || end <= r.head {
		t.Fatal(end, count, err)
	}
	if err := r.append([][]byte{payload(20, 64)}); err != nil {
		t.Fatal(err)
	}
	if got := list(t, mustLoad(t, image, bootB)); len(got) != 4 {
		t.Fatalf("%d records, want 4: what was staged and not committed is none", len(got))
	}
}
