package shm

import "slices"

// span is a range of bytes: from its first to before its last.
type span struct{ from, to uint64 }

// pages is the span of the pages that s touches.
func (s span) pages(size uint64) span {
	return span{s.from / size * size, (s.to + size - 1) / size * size}
}

// without is what is in s and in none of the others.
func (s span) without(others []span) (left []span) {
	others = slices.Clone(others)
	slices.SortFunc(others, func(a, b span) int {
		if a.from < b.from {
			return -1
		}
		return 1
	})
	for _, o := range others {
		if o.to <= s.from || s.from == s.to {
			continue
		}
		if o.from >= s.to {
			break
		}
		if o.from > s.from {
			left = append(left, span{s.from, o.from})
		}
		s.from = min(o.to, s.to)
	}
	if s.from < s.to {
		left = append(left, s)
	}
	return left
}
