package sidecar

import (
	"errors"
	"sync"
	"testing"
)

func TestATicketAdmitsOnce(t *testing.T) {
	ts := newTickets()
	if !ts.Open("k:1") {
		t.Fatal("cannot open")
	}
	if _, err := ts.Claim("k:1"); err != nil {
		t.Fatal(err)
	}
	if _, err := ts.Claim("k:1"); !errors.Is(err, errNoTicket) {
		t.Errorf("second claim: %v", err)
	}
	if ts.Open("k:2") {
		t.Error("a new ticket may be opened while a session is claimed")
	}
	ts.Release()
	if _, err := ts.Claim("k:1"); !errors.Is(err, errNoTicket) {
		t.Errorf("claim of a used ticket: %v", err)
	}
	if !ts.Open("k:3") {
		t.Error("cannot open after the release")
	}
}

func TestOnlyTheTicketOnOfferAdmits(t *testing.T) {
	for _, key := range []string{"", "k", "k:", "k:1 ", "k:11", "K:1", "k:2"} {
		ts := newTickets()
		ts.Open("k:1")
		if _, err := ts.Claim(key); !errors.Is(err, errNoTicket) {
			t.Errorf("claim of %q: %v", key, err)
		}
		if _, err := ts.Claim("k:1"); err != nil {
			t.Errorf("the right ticket after %q: %v", key, err)
		}
	}
}

func TestAWithdrawnTicketAdmitsNobody(t *testing.T) {
	ts := newTickets()
	ts.Open("k:1")
	ts.Close()
	for _, key := range []string{"k:1", ""} {
		if _, err := ts.Claim(key); !errors.Is(err, errNoTicket) {
			t.Errorf("claim of %q: %v", key, err)
		}
	}
}

func TestAFailedClaimTellsWhenToTryAgain(t *testing.T) {
	ts := newTickets()
	changed, err := ts.Claim("k")
	if err == nil {
		t.Fatal("claimed a ticket that does not exist")
	}
	select {
	case <-changed:
		t.Fatal("changed before anything did")
	default:
	}
	ts.Open("k")
	<-changed
}

func TestOfManyThatRaceOneWins(t *testing.T) {
	ts := newTickets()
	for range 200 {
		ts.Open("k:1")
		var wins sync.Map
		var racers sync.WaitGroup
		for i := range 8 {
			racers.Go(func() {
				if _, err := ts.Claim("k:1"); err == nil {
					wins.Store(i, true)
				}
			})
		}
		racers.Wait()
		n := 0
		wins.Range(func(_, _ any) bool { n++; return true })
		if n != 1 {
			t.Fatalf("%d winners", n)
		}
		ts.Release()
	}
}

func TestARetiredTicketIsTheLast(t *testing.T) {
	ts := newTickets()
	ts.Open("k:1")
	ts.Retire()
	if _, err := ts.Claim("k:1"); !errors.Is(err, errNoTicket) {
		t.Errorf("claim of a retired ticket: %v", err)
	}
	if ts.Open("k:2") || ts.Claimed() {
		t.Error("another ticket is put, or claimed")
	}
}
