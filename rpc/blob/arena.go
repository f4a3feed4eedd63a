package blob

import (
	"math/bits"
	"slices"
	"time"
)

// SegmentID names a segment of memory. It is not used again.
type SegmentID uint32

// group is who may see the memory of a segment, as whole segments are what processes
// map: blobs of different owners never share one, nor do those that nobody but the
// owner may write with those that others may.
type group struct {
	owner PartyID
	lend  Rights
}

// extent is the memory of a blob: whole pages.
type extent struct {
	segment *segment
	first   int // page
	pages   uint64
}

// segment is memory that is mapped as a whole: divided into runs, or for one blob that
// is too large for that.
type segment struct {
	id    SegmentID
	bytes uint64
	group group
	runs  *runs // nil: for one blob
	used  int   // blobs
	idle  time.Duration
}

func (s *segment) take(pages uint64) (first int, ok bool) {
	if s.runs == nil {
		ok = s.used == 0 && s.bytes == pages*Page
	} else {
		first, ok = s.runs.take(pages)
	}
	if ok {
		s.used++
	}
	return first, ok
}

func (s *segment) give(now time.Duration, first int) {
	if s.runs != nil {
		s.runs.give(first)
	}
	if s.used--; s.used == 0 {
		s.idle = now
	}
}

// arenas are all segments, by group, in the order in which they were made.
type arenas struct {
	largest uint64 // bytes of a segment that is divided
	total   uint64 // bytes of all segments
	last    SegmentID
	groups  map[group][]*segment
}

// firstSegment is how large the first segment of a group is, bytes. Others are as
// large as all before them, up to arenas.largest: so there are few.
const firstSegment = 4 << 20

// take finds memory for a blob.
func (a *arenas) take(g group, pages uint64) (extent, *Need) {
	for _, s := range a.groups[g] {
		if first, ok := s.take(pages); ok {
			return extent{s, first, pages}, nil
		}
	}
	bytes := pages * Page
	if bytes > a.largest/2 {
		return extent{}, &Need{Bytes: bytes, group: g, whole: true}
	}
	have := uint64(0)
	for _, s := range a.groups[g] {
		have += s.bytes
	}
	want := max(firstSegment, have, bytes)
	return extent{}, &Need{Bytes: min(1<<bits.Len64(want-1), a.largest), group: g}
}

func (a *arenas) add(now time.Duration, n *Need) SegmentID {
	a.last++
	s := &segment{id: a.last, bytes: n.Bytes, group: n.group, idle: now}
	if !n.whole {
		s.runs = newRuns(n.Bytes / Page)
	}
	a.groups[n.group] = append(a.groups[n.group], s)
	a.total += n.Bytes
	return s.id
}

// of is how many bytes the segments of an owner have.
func (a *arenas) of(owner PartyID) (bytes uint64) {
	for _, lend := range []Rights{Read, Read | Write} {
		for _, s := range a.groups[group{owner, lend}] {
			bytes += s.bytes
		}
	}
	return bytes
}

// drop takes away the segments that nothing uses and that are not to be kept, and
// returns them in their order.
func (a *arenas) drop(keep func(*segment) bool) (dropped []SegmentID) {
	for g, segments := range a.groups {
		left := slices.DeleteFunc(segments, func(s *segment) bool {
			if s.used > 0 || keep(s) {
				return false
			}
			dropped = append(dropped, s.id)
			a.total -= s.bytes
			return true
		})
		if a.groups[g] = left; len(left) == 0 {
			delete(a.groups, g)
		}
	}
	slices.Sort(dropped)
	return dropped
}
