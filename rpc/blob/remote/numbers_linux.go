package remote

import (
	"cmp"
	"slices"
)

// mostRuns bounds what is remembered of a client's numbers. Over it the lowest are forgotten.
const mostRuns = 4096

// numbers are those of a client that are over: it knows the ends of what they stand for, or has given that up. What is
// asked for by one of them comes late, over a connection that was slower than the one by which the client has said so.
// They are all up to one, and runs of others.
type numbers struct {
	upTo uint64
	runs []run // above it, ascending, and others in between
}

// run is some numbers in a row.
type run struct{ first, last uint64 }

// find returns the first run that ends with n or above it, and whether n is in it.
func (s *numbers) find(n uint64) (at int, in bool) {
	at, _ = slices.BinarySearchFunc(s.runs, n, func(r run, n uint64) int { return cmp.Compare(r.last, n) })
	return at, at < len(s.runs) && s.runs[at].first <= n
}

// has tells whether a number is over. 0 is none.
func (s *numbers) has(n uint64) bool {
	_, in := s.find(n)
	return in || n > 0 && n <= s.upTo
}

// add notes one.
func (s *numbers) add(n uint64) {
	at, in := s.find(n)
	if in || n <= s.upTo {
		return
	}
	below := at > 0 && s.runs[at-1].last == n-1
	above := at < len(s.runs) && s.runs[at].first == n+1
	switch {
	case below && above:
		s.runs[at-1].last = s.runs[at].last
		s.runs = slices.Delete(s.runs, at, at+1)
	case below:
		s.runs[at-1].last = n
	case above:
		s.runs[at].first = n
	default:
		s.runs = slices.Insert(s.runs, at, run{n, n})
	}
	if len(s.runs) > mostRuns {
		s.runs = slices.Delete(s.runs, 0, 1)
	}
}

// raise notes all up to n.
func (s *numbers) raise(n uint64) {
	if n <= s.upTo {
		return
	}
	at, in := s.find(n)
	if in {
		n = s.runs[at].last
		at++
	}
	s.upTo, s.runs = n, slices.Delete(s.runs, 0, at)
}
