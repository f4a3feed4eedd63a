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

// TestC28_TheDefaultsOfSessions are the specification's, of clients and of the table.
func TestC28_TheDefaultsOfSessions(t *testing.T) {
	c, d := ClientOptions{}.withDefaults(), DomainOptions{}.withDefaults()
	for what, x := range map[string]struct{ got, want any }{
		"lease":                                {d.Lease, 5 * time.Minute},
		"open calls":                           {d.Open, 512},
		"open calls of a client":               {c.Open, 512},
		"sessions":                             {d.Sessions, 65_536},
		"bytes of a session's replies":         {d.ReplyBytes, 16 << 20},
		"bytes of all replies":                 {d.DomainBytes, 1 << 30},
		"attempts":                             {c.Attempts, 3},
		"runs":                                 {d.Runs, 3},
		"workers that a call may kill":         {d.Strikes, 3},
		"time for that":                        {d.StrikeWindow, 10 * time.Minute},
		"out of reach, until another is asked": {c.FailoverAfter, 3 * time.Second},
		"first pause before it is sent again":  {c.RedialLeast, 5 * time.Millisecond},
		"longest pause":                        {c.RedialMost, time.Second},
		"pause before an ack by itself":        {c.AckDelay, 100 * time.Millisecond},
		"answers that are held back for it":    {heldMost, 64},
	} {
		if x.got != x.want {
			t.Errorf("%s: %v, want %v", what, x.got, x.want)
		}
	}
}
