package giveway

import (
	"slices"
	"testing"
	"time"
)

// road is a crossing at a time of its own.
type road struct {
	crossing

	t     time.Duration
	waits bool // a message is unread
	did   []string
}

func newRoad() *road {
	r := &road{}
	r.crossing = crossing{
		unread: func() bool { return r.waits },
		park:   func() { r.did = append(r.did, "park") },
		yield:  func() { r.did = append(r.did, "yield") },
		now:    func() time.Duration { return r.t },
	}
	return r
}

func (r *road) steps(t *testing.T, want ...string) {
	t.Helper()
	r.did = nil
	r.step()
	if !slices.Equal(r.did, want) {
		t.Fatalf("at %v: %v, want %v", r.t, r.did, want)
	}
}

func TestWhoMovesBytesGoesOnWhileNoMessageWaits(t *testing.T) {
	r := newRoad()
	r.steps(t)
	r.t = time.Hour
	r.steps(t)
}

func TestAMessageThatWaitsIsLetPassAndSoAreThreadsForAWhile(t *testing.T) {
	r := newRoad()
	r.waits = true
	r.steps(t, "park", "yield")
	r.waits = false
	r.t = recent - 1
	r.steps(t, "yield")
	r.t = recent
	r.steps(t)
}
