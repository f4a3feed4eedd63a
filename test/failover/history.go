//go:build linux

package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// failure says how far a visit came that failed.
type failure string

const (
	failTracker failure = "tracker" // the connection was lost, or there was none
	failReach   failure = "reach"   // the server does not listen
	failDoor    failure = "door"    // the ticket is not good
	failSession failure = "session" // it was cut, or answered wrongly
	failWaiting failure = "waiting" // for a device, until the run was over
)

// visit is one attempt of a client to use a device. Times that it did not come to
// are zero.
type visit struct {
	client    int
	requested time.Time
	granted   time.Time
	operator  int // that has granted it
	device    string
	ticket    string
	entered   time.Time // the server has let it in
	left      time.Time // it is about to close the session
	failed    time.Time
	why       failure
	err       string
}

// end is when the visit was over for its client.
func (v *visit) end() time.Time {
	if v.left.IsZero() {
		return v.failed
	}
	return v.left
}

func (v *visit) String() string {
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Format("04:05.000")
	}
	return fmt.Sprintf("client %d, device %s, ticket %s of operator %d: asked %s, granted %s, let in %s, left %s, failed %s (%s %s)",
		v.client, v.device, v.ticket, v.operator, stamp(v.requested), stamp(v.granted), stamp(v.entered), stamp(v.left), stamp(v.failed), v.why, v.err)
}

// kind is how a leader went.
type kind string

const (
	kill   kind = "kill"
	stop   kind = "stop"
	freeze kind = "freeze"
)

// failover is what followed when a leader went.
type failover struct {
	kind              kind
	victim, successor int // operators
	at                time.Time
	elected           time.Time // the Lease names the successor
	moved             time.Time // the EndpointSlice does
	registered        time.Time // the last server has registered with it
	granted           time.Time // its first grant was received; zero: it went before that
}

// history is what all clients saw. Each visit is its client's until it is over.
type history struct {
	mu     sync.Mutex
	visits []*visit
	first  map[int]time.Time    // grant, by operator
	served map[string]time.Time // device: the last time that a session was begun there
}

func newHistory() *history {
	return &history{first: map[int]time.Time{}, served: map[string]time.Time{}}
}

// begin notes a visit.
func (h *history) begin(client int) *visit {
	v := &visit{client: client, requested: time.Now()}
	h.mu.Lock()
	h.visits = append(h.visits, v)
	h.mu.Unlock()
	return v
}

// granted tells of a grant that has just been received.
func (h *history) granted(operator int, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.first[operator].IsZero() {
		h.first[operator] = at
	}
}

// entered tells of a session that has just begun.
func (h *history) entered(device string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.served[device] = at
}

// firstGrant of an operator; zero: there was none.
func (h *history) firstGrant(operator int) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.first[operator]
}

// idle lists devices that have served nobody since a time.
func (h *history) idle(devices []string, since time.Time) (idle []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range devices {
		if !h.served[d].After(since) {
			idle = append(idle, d)
		}
	}
	return idle
}

// all returns the visits. No client may run any more.
func (h *history) all() []*visit {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.visits)
}
