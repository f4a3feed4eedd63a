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
	if got := (ClientOptions{}).withDefaults().Lease; got != 5*time.Minute {
		t.Errorf("a client counts on %v", got)
	}
}
