package blob

import "math/bits"

// runs hands out runs of a segment's pages. What it knows is in memory of its own,
// not in the segment's, where a peer could change it.
//
// Free runs are in a bin of the largest class that they hold. A run is taken from the
// first bin whose runs are all long enough; what is left of it goes back; a run that
// is freed joins its neighbours. So an allocation fails only if no free run is as long
// as its class, and all that is free is one run when nothing is used.
type runs struct {
	at    []run   // by page: valid at the first page of a run, pages also at its last
	bins  []int32 // by class: 1 + first page of the first run
	taken uint64  // pages in use
	some  uint64  // bit c: bin c is not empty
}

type run struct {
	pages      uint32
	free       bool
	next, prev int32 // in a bin: 1 + first page
}

// maxRun is how many pages a segment may have, so that the bits of runs.some are enough.
const maxRun = 1 << 17

func newRuns(pages uint64) *runs {
	r := &runs{at: make([]run, pages), bins: make([]int32, floorClass(pages)+1)}
	r.put(0, int(pages))
	return r
}

// take returns the first page of a run of so many pages, which are a class.
func (r *runs) take(pages uint64) (first int, ok bool) {
	c := ceilClass(pages)
	if r.some>>c == 0 {
		return 0, false
	}
	bin := c + bits.TrailingZeros64(r.some>>c)
	first = int(r.bins[bin]) - 1
	have := int(r.at[first].pages)
	r.unlink(first)
	if rest := have - int(pages); rest > 0 {
		r.put(first+int(pages), rest)
	}
	r.mark(first, int(pages), false)
	r.taken += pages
	return first, true
}

// give frees a run that was taken.
func (r *runs) give(first int) {
	pages := int(r.at[first].pages)
	r.taken -= uint64(pages)
	if next := first + pages; next < len(r.at) && r.at[next].free {
		r.unlink(next)
		pages += int(r.at[next].pages)
	}
	if first > 0 {
		if before := first - int(r.at[first-1].pages); r.at[before].free {
			r.unlink(before)
			first, pages = before, pages+first-before
		}
	}
	r.put(first, pages)
}

// put makes a run free.
func (r *runs) put(first, pages int) {
	r.mark(first, pages, true)
	c := floorClass(uint64(pages))
	head := r.bins[c]
	r.at[first].next, r.at[first].prev = head, 0
	if head != 0 {
		r.at[head-1].prev = int32(first) + 1
	}
	r.bins[c] = int32(first) + 1
	r.some |= 1 << c
}

func (r *runs) unlink(first int) {
	c := floorClass(uint64(r.at[first].pages))
	next, prev := r.at[first].next, r.at[first].prev
	if next != 0 {
		r.at[next-1].prev = prev
	}
	if prev != 0 {
		r.at[prev-1].next = next
	} else if r.bins[c] = next; next == 0 {
		r.some &^= 1 << c
	}
}

// mark writes a run's length at both of its ends. Pages within a run are never looked
// at; a page that was one may have become an end, or the other way round.
func (r *runs) mark(first, pages int, free bool) {
	last := first + pages - 1
	r.at[last].pages = uint32(pages)
	r.at[first].pages, r.at[first].free = uint32(pages), free
}
