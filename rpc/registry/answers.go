package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// takes tells whether the result of an attempt counts, and notes that it came.
func (r *Registrar) takes(now time.Duration, attempt uint64) bool {
	if !r.open || attempt != r.attempt || now >= r.until() || r.over {
		return false
	}
	r.open = false
	return true
}

// Confirmed tells that a registration was accepted. It returns the locks that the
// node has lost.
func (r *Registrar) Confirmed(now time.Duration, attempt uint64, ack *Ack) []Held {
	if !r.takes(now, attempt) {
		return nil
	}
	err := ack.check()
	if err == nil && Lasting(ack.Epoch) != r.opts.Lasting {
		err = fmt.Errorf("a confirmation has epoch %#x, of another kind of node", ack.Epoch)
	}
	if err != nil {
		r.retry(now, err)
		return nil
	}
	if r.ack != nil && (ack.Epoch != r.ack.Epoch || ack.Rank != r.ack.Rank) {
		r.over = true
		r.cause = fmt.Errorf("epoch %#x with rank %d became %#x with %d", r.ack.Epoch, r.ack.Rank, ack.Epoch, ack.Rank)
		return nil
	}
	r.ack, r.told = ack, r.sending
	if r.sending == r.revision {
		r.services = slices.Clone(ack.Services)
	}
	lost := r.reconcile(ack)
	r.succeed(now)
	return lost
}

// reconcile compares the locks that were claimed of a registry with those that the
// node has now. One that another registry granted, and that was not claimed when
// this one asked who has which, is lost: this one may grant it to anybody. One that
// was claimed and has been dropped since is to be taken back.
func (r *Registrar) reconcile(ack *Ack) (lost []Held) {
	foreign := func(h Held) bool { return term(h.Token) < term(ack.Version) }
	r.held = slices.DeleteFunc(r.held, func(h Held) bool {
		gone := slices.Contains(ack.Lost, h) || foreign(h) && !slices.Contains(r.claimed, h)
		if gone {
			lost = append(lost, h)
		}
		return gone
	})
	for _, h := range r.claimed {
		if foreign(h) && !slices.Contains(r.held, h) && !slices.Contains(ack.Lost, h) {
			r.told = 0
		}
	}
	return lost
}

// term is that of the registry that gave a number.
func term(number uint64) uint64 { return number >> 32 }

// Renewed tells that a renewal was accepted.
func (r *Registrar) Renewed(now time.Duration, attempt uint64) {
	if r.takes(now, attempt) {
		r.succeed(now)
	}
}

func (r *Registrar) succeed(now time.Duration) {
	r.renewed, r.failures, r.cause = r.sent, 0, nil
	r.enter(Registered, now)
	r.due = r.sent + r.ack.Lease.Renew
	if r.news() {
		r.due = now
	}
}

// Failed tells why an attempt failed: a [Refusal], or that the registry was not
// reached.
func (r *Registrar) Failed(now time.Duration, attempt uint64, err error) {
	if r.takes(now, attempt) {
		r.retry(now, err)
	}
}

func (r *Registrar) fail(now time.Duration, err error) {
	r.open = false
	r.retry(now, err)
}

// retry decides when to try again, and what.
func (r *Registrar) retry(now time.Duration, err error) {
	r.cause = err
	if r.failures++; r.ack != nil {
		r.enter(Losing, now)
	}
	pause := r.pause()
	if no := (*Refusal)(nil); errors.As(err, &no) {
		switch {
		case no.Code == Fenced && r.ack != nil:
			r.over = true
		case no.Code == Fenced: // the registry has forgotten it, or has settled without it
			r.claim = Claim{}
		case no.Code == Unknown:
			r.told = 0
			pause = time.Duration(r.opts.Random() * float64(r.opts.First))
		case (no.Code == Malformed || no.Code == Duplicate) && r.told != 0 && r.sending != 0:
			r.refused, r.refusal = r.sending, err
		}
		pause = max(pause, no.Retry+time.Duration(r.opts.Random()*float64(r.opts.First)))
	}
	r.due = now + pause
}

// pause is half to all of First, doubled for each failure after the first.
func (r *Registrar) pause() time.Duration {
	most := r.opts.Most
	if r.ack != nil {
		most = min(most, r.ack.Lease.Renew/2)
	}
	d := most
	if shift := r.failures - 1; shift < 32 && r.opts.First <= most>>shift {
		d = r.opts.First << shift
	}
	return d/2 + time.Duration(r.opts.Random()*float64(d/2))
}

// Update changes what the node says about itself. Services that have got an
// automatic id keep it if they are given with it: see Services. If the registry
// refuses the change, the node stays registered as it was.
func (r *Registrar) Update(now time.Duration, at Endpoints, services []Service) error {
	was, had := r.endpoints, r.services
	r.endpoints, r.services = at, slices.Clone(services)
	if err := r.registration().check(); err != nil {
		r.endpoints, r.services = was, had
		return err
	}
	r.revision++
	r.refusal = nil
	if r.phase == Registered {
		r.due = now
	}
	return nil
}

// Services returns the node's servers, with the ids that the registry gave them.
func (r *Registrar) Services() []Service { return slices.Clone(r.services) }

// SetLoad is what the next renewal says: calls that wait.
func (r *Registrar) SetLoad(load uint32) { r.load = load }

// SetNote is what the next renewal says to whoever runs the registry, cut to [MaxText];
// clients are not told.
func (r *Registrar) SetNote(note string) {
	note = strings.ToValidUTF8(note, "?")
	r.note = strings.ToValidUTF8(note[:min(len(note), MaxText)], "")
}

// Hold notes a lock that was granted to the node, so that it keeps it when the
// registry starts anew. If it returns false, the node does not have it: the grant
// was to an epoch that is over, or of another registry than the one that confirmed
// the node last; or there are too many. Then ask again, or release it.
func (r *Registrar) Hold(now time.Duration, epoch uint64, h Held) bool {
	switch {
	case r.ack == nil || r.ack.Epoch != epoch || r.over || now >= r.until():
		return false
	case slices.Contains(r.held, h):
		return true
	case term(h.Token) != term(r.ack.Version) || len(r.held) == MaxHeld:
		return false
	}
	r.held = append(r.held, h)
	return true
}

// Drop forgets a lock, before its release is sent.
func (r *Registrar) Drop(name string) {
	r.held = slices.DeleteFunc(r.held, func(h Held) bool { return h.Name == name })
}

// Revive registers again after a fence, as another instance: the workers of the one
// before have ended.
func (r *Registrar) Revive(now time.Duration, secret Secret) {
	if r.phase == PhaseFenced {
		r.opts.Secret = secret
		r.failures, r.told, r.due = 0, 0, now
		r.enter(Registering, now)
	}
}

// Leave ends the registrar. Its owner has ended the workers; what is returned is to
// be sent with Deregister, if there is a lease.
func (r *Registrar) Leave(now time.Duration) (Owner, bool) {
	has := r.ack != nil && now < r.until() && !r.over
	o := Owner{}
	if has {
		o = r.owner()
	}
	r.enter(PhaseLeft, now)
	r.ack, r.held, r.open = nil, nil, false
	return o, has
}

// Condition says how the registrar is.
func (r *Registrar) Condition() Condition {
	c := Condition{Phase: r.phase, Since: r.since, Failures: r.failures, Cause: r.cause, Refusal: r.refusal}
	if r.ack != nil {
		c.Claim, c.Until = Claim{Rank: r.ack.Rank, Epoch: r.ack.Epoch}, r.until()
	}
	return c
}
