package sidecar

import (
	"crypto/subtle"
	"errors"
	"sync"
)

// errNoTicket answers a client whose ticket is not the one on offer: old, used,
// forged, or second in a race.
var errNoTicket = errors.New("no such ticket")

// tickets holds the one ticket that admits a client. It is the only state that
// the door, the offer loop and the core share; exactly one Claim wins.
//
//	none ──open──▶ open ──claim──▶ claimed ──release──▶ none
//	  ▲              │ open (new key), close
//	  └──────────────┘
type tickets struct {
	mu      sync.Mutex
	key     string
	open    bool
	claimed bool
	retired bool          // there will be no more
	changed chan struct{} // closed and replaced at every change
}

func newTickets() *tickets { return &tickets{changed: make(chan struct{})} }

// Open puts matchKey on offer in place of any other. It fails if a client has
// already claimed the one before, or after Retire.
func (t *tickets) Open(matchKey string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.claimed || t.retired {
		return false
	}
	t.key, t.open = matchKey, true
	t.notify()
	return true
}

// Retire withdraws the ticket, if one is on offer, and lets no other be put.
func (t *tickets) Retire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.key, t.open, t.retired = "", false, true
	t.notify()
}

// Claimed tells whether a client has the ticket, from its claim to the end of
// its session.
func (t *tickets) Claimed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.claimed
}

// Close withdraws the ticket, if one is on offer.
func (t *tickets) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.key, t.open = "", false
	t.notify()
}

// Claim takes the ticket. It tells, if it fails, how to wait for a change.
func (t *tickets) Claim(matchKey string) (changed <-chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.open || t.claimed || subtle.ConstantTimeCompare([]byte(matchKey), []byte(t.key)) == 0 {
		return t.changed, errNoTicket
	}
	t.key, t.open, t.claimed = "", false, true
	t.notify()
	return nil, nil
}

// Release says that the claimed session is over.
func (t *tickets) Release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.claimed = false
	t.notify()
}

func (t *tickets) notify() {
	close(t.changed)
	t.changed = make(chan struct{})
}
