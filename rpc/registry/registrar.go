package registry

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// RegistrarOptions of a Registrar.
type RegistrarOptions struct {
	ID      string
	Secret  Secret         // of this instance
	Life    uint32         // of an instance that outlives its process: greater in each
	First   time.Duration  // pause after the first failure; it doubles. Default 250 ms
	Most    time.Duration  // longest pause; while there is a lease to lose, half of its Renew if that is less. Default 10 s
	Timeout time.Duration  // of one attempt. Default 2.5 s
	Random  func() float64 // within [0, 1); spreads nodes that have lost the same registry
	Lasting bool           // without a lease its owner ends its locks, and no workers
}

func (o RegistrarOptions) withDefaults() (RegistrarOptions, error) {
	for _, d := range []struct {
		of   *time.Duration
		when time.Duration
	}{{&o.First, 250 * time.Millisecond}, {&o.Most, 10 * time.Second}, {&o.Timeout, 2500 * time.Millisecond}} {
		if *d.of == 0 {
			*d.of = d.when
		}
	}
	if o.First < 0 || o.Most < o.First || o.Timeout < 0 || o.Random == nil {
		return o, errors.New("bad options: a time is negative, the pause shrinks, or Random is not set")
	}
	return o, checkName("node id", o.ID)
}

// Phase of a registrar.
type Phase uint8

// Phases.
const (
	Registering Phase = iota // it has no lease
	Registered               // it has one, and the registry answers
	Losing                   // it has one, and the registry did not answer the last time
	PhaseFenced              // its owner must end its workers, then call Revive
	PhaseLeft                // it has left
)

// String is the phase's word.
func (p Phase) String() string {
	return [...]string{"registering", "registered", "losing", "fenced", "left"}[min(p, PhaseLeft)]
}

// Condition is what is shown to people of a registrar.
type Condition struct {
	Phase    Phase
	Since    time.Duration // when the phase began
	Failures int           // attempts in a row
	Cause    error         // of the last failure
	Refusal  error         // of the last change of what the node says
	Claim    Claim         // rank and epoch, if there is a lease
	Until    time.Duration // when the lease ends, if there is one
}

// Registrar keeps one node registered. It does nothing by itself: its owner calls
// Step, does what that says, and tells it what came of it. It is not safe for
// concurrent use.
type Registrar struct {
	opts      RegistrarOptions
	endpoints Endpoints
	services  []Service
	load      uint32
	note      string
	held      []Held

	phase    Phase
	since    time.Duration
	ack      *Ack          // nil: no lease
	claim    Claim         // without a lease: what a lasting node had, which a registry that starts gives back
	renewed  time.Duration // when what was answered last was sent
	over     bool          // the registry has said so
	revision uint64
	told     uint64 // the revision that the registry has confirmed; 0: register
	refused  uint64 // a revision that the registry has refused, so it is not sent again
	refusal  error
	due      time.Duration

	attempt  uint64 // number of the last one
	claimed  []Held // locks that it claimed
	open     bool   // it has not been answered
	sent     time.Duration
	sending  uint64 // its revision; 0: it is a renewal
	failures int
	cause    error
}

// NewRegistrar returns a registrar for a node, which registers at the first Step.
func NewRegistrar(now time.Duration, opts RegistrarOptions, at Endpoints, services []Service) (*Registrar, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Registrar{opts: opts, since: now, due: now, revision: 1, endpoints: at, services: slices.Clone(services)}
	r.attempt = uint64(opts.Life) << 32
	m := r.registration()
	return r, m.check()
}

// Action is what a registrar's owner has to do now: at most one of the first three.
type Action struct {
	Register *Registration // send it, and tell Confirmed or Failed
	Renew    *Renewal      // send it, and tell Renewed or Failed
	Fence    bool          // end the workers at once, then call Revive. It is said once
	Attempt  uint64        // whose result is told
	Deadline time.Duration // of the attempt; a later result is not listened to
	Wake     time.Duration // when to call Step again, if nothing happens before
}

// Step returns what is to be done now. It is to be called when something was told,
// and at the time that it said last.
func (r *Registrar) Step(now time.Duration) Action {
	if r.phase >= PhaseFenced {
		return Action{Wake: Never}
	}
	if r.over || now >= r.until() {
		r.fence(now)
		return Action{Fence: true, Wake: Never}
	}
	if r.open && now >= r.sent+r.opts.Timeout {
		r.fail(now, fmt.Errorf("no answer within %v", r.opts.Timeout))
	}
	if r.open || now < r.due {
		return Action{Wake: r.wake()}
	}
	r.attempt++
	r.open, r.sent, r.sending = true, now, 0
	a := Action{Attempt: r.attempt, Deadline: now + r.opts.Timeout, Wake: r.wake()}
	if r.news() {
		r.sending = r.revision
		a.Register = r.registration()
		r.claimed = a.Register.Held
	} else {
		a.Renew = &Renewal{Owner: r.owner(), Load: r.load, Note: r.note, Term: uint32(term(r.ack.Version))}
	}
	return a
}

// news tells whether there is something that the registry has to know.
func (r *Registrar) news() bool {
	return r.told == 0 || r.told < r.revision && r.refused != r.revision
}

// until is when the lease ends, by the cautious reckoning of who must obey it.
func (r *Registrar) until() time.Duration {
	if r.ack == nil {
		return Never
	}
	return r.renewed + r.ack.Lease.Self
}

func (r *Registrar) wake() time.Duration {
	if r.open {
		return min(r.until(), r.sent+r.opts.Timeout)
	}
	return min(r.until(), r.due)
}

func (r *Registrar) registration() *Registration {
	m := &Registration{
		ID: r.opts.ID, Secret: r.opts.Secret, Revision: r.attempt, Endpoints: r.endpoints,
		Services: slices.Clone(r.services), Load: r.load, Note: r.note, Held: slices.Clone(r.held), Lasting: r.opts.Lasting,
		Claim: r.claim, Lapsed: r.claim.Epoch != 0,
	}
	if r.ack != nil {
		m.Claim, m.Lapsed = Claim{Rank: r.ack.Rank, Epoch: r.ack.Epoch}, false
	}
	return m
}

func (r *Registrar) owner() Owner {
	return Owner{Epoch: r.ack.Epoch, Secret: r.opts.Secret, Life: r.opts.Life}
}

func (r *Registrar) fence(now time.Duration) {
	r.enter(PhaseFenced, now)
	if !r.over {
		r.cause = fmt.Errorf("the lease of epoch %#x ended: %w", r.ack.Epoch, orLate(r.cause))
	}
	if r.claim = (Claim{}); r.opts.Lasting && !r.over {
		r.claim = Claim{Rank: r.ack.Rank, Epoch: r.ack.Epoch}
	}
	r.ack, r.held, r.over, r.open = nil, nil, false, false
}

// orLate is the cause of a failure, if there was one.
func orLate(cause error) error {
	if cause == nil {
		return errors.New("it was not renewed in time")
	}
	return cause
}

func (r *Registrar) enter(p Phase, now time.Duration) {
	if r.phase != p {
		r.phase, r.since = p, now
	}
}
