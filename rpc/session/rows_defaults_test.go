package session

import (
	"testing"
	"time"
)

// TestS3_36_TheNumbersAreTheLectures: a session is kept for five minutes after its client's last
// word, and a client that says nothing of it counts on no more.
func TestS3_36_TheNumbersAreTheLectures(t *testing.T) {
	if got := (DomainOptions{}).withDefaults().Lease; got != 5*time.Minute {
		t.Errorf("a server keeps sessions for %v", got)
	}
	_, kept := one(t, DomainOptions{})
	heard := kept.r.now
	kept.do(kept.domain.Tick(heard+5*time.Minute-1, nil))
	if n := kept.domain.Sessions(); n != 1 {
		t.Errorf("%d sessions before five minutes have passed", n)
	}
	kept.do(kept.domain.Tick(heard+5*time.Minute, nil))
	if n := kept.domain.Sessions(); n != 0 {
		t.Errorf("%d sessions after five minutes", n)
	}
	if got := (ClientOptions{}).withDefaults().Lease; got != 5*time.Minute {
		t.Errorf("a client counts on %v", got)
	}
}
