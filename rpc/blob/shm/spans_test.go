package shm

import (
	"testing"

	"pgregory.net/rapid"
)

// TestSpansAgainstABitmap: what is left of a span is each byte that no other has, once.
func TestSpansAgainstABitmap(t *testing.T) {
	spans := rapid.Custom(func(t *rapid.T) span {
		from := rapid.Uint64Max(40).Draw(t, "from")
		return span{from, from + rapid.Uint64Max(20).Draw(t, "length")}
	})
	rapid.Check(t, func(t *rapid.T) {
		s, others := spans.Draw(t, "span"), rapid.SliceOfN(spans, 0, 6).Draw(t, "others")
		want, got := [100]int{}, [100]int{}
		for i := s.from; i < s.to; i++ {
			want[i] = 1
			for _, o := range others {
				if o.from <= i && i < o.to {
					want[i] = 0
				}
			}
		}
		for _, l := range s.without(others) {
			if l.from >= l.to {
				t.Fatalf("an empty span at %d", l.from)
			}
			for i := l.from; i < l.to; i++ {
				got[i]++
			}
		}
		if got != want {
			t.Fatalf("left %v", s.without(others))
		}
	})
}

func TestPagesOfASpan(t *testing.T) {
	for s, want := range map[span]span{
		{0, 1}:       {0, 4096},
		{4095, 4097}: {0, 8192},
		{4096, 8192}: {4096, 8192},
		{5000, 5000}: {4096, 8192},
	} {
		if got := s.pages(4096); got != want {
			t.Errorf("%v touches %v, want %v", s, got, want)
		}
	}
}
