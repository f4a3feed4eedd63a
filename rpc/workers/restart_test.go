package workers

import (
	"testing"
	"time"
)

func TestPausesGrowUntilAWorkerServes(t *testing.T) {
	var r restart
	for i, ms := range []int{100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000} {
		if got := r.ended(false, 0, 0.5); got.Milliseconds() != int64(ms) {
			t.Errorf("pause %d is %v", i, got)
		}
		if r.loops() != (i >= 4) {
			t.Errorf("after %d failures, loops is %v", i+1, r.loops())
		}
	}
	if got := r.ended(true, time.Second, 0.5); got != 0 || r.loops() {
		t.Errorf("a crash that a call caused: %v", got)
	}
	if lo, hi := r.ended(false, time.Second, 0), r.ended(false, 0, 1); lo != 80*time.Millisecond || hi != 240*time.Millisecond {
		t.Errorf("spread %v, %v", lo, hi)
	}
	if got := r.ended(false, time.Hour, 0.5); got != 0 || r.loops() {
		t.Errorf("a worker that was idle for an hour: %v", got)
	}
}
