package durations

import (
	"testing"
	"time"
)

func TestABoundBelongsToWhatItBounds(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{-1, 0, First, First + 1, 2 * First, 2*First + 1, time.Hour} {
		h.Add(d)
	}
	if h.Counts[0] != 3 || h.Counts[1] != 2 || h.Counts[2] != 1 || h.Counts[Bounds] != 1 {
		t.Errorf("counts are %v", h.Counts)
	}
	count, upTo := h.Cumulative()
	if count != 7 || upTo[16e-6] != 3 || upTo[32e-6] != 5 || len(upTo) != Bounds || upTo[(First<<(Bounds-1)).Seconds()] != 6 {
		t.Errorf("%d in all, %v", count, upTo)
	}
}

func TestEachDurationIsWithinItsBounds(t *testing.T) {
	for d := time.Duration(1); d < time.Minute; d = d*3/2 + 1 {
		i := Place(d)
		if i < Bounds && d > First<<i || i > 0 && d <= First<<(i-1) {
			t.Errorf("%v is at place %d", d, i)
		}
	}
}
