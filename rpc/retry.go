package rpc

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/session"
)

// AtLeastOnce makes a call again, as another call, if it has no result after a time, up to
// so many times: the classic loop, with its classic effect. It is refused for calls that are
// not [Idempotent]. timeout bounds one attempt; 0: 10 s.
func AtLeastOnce(timeout time.Duration, attempts int) CallOption {
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	return func(u *client.Call) { u.Each, u.Tries = timeout, attempts }
}

// ExactlyOnce makes a call, as often as it takes, until it is known what has come of it, or
// the context ends: also if servers restart, are replaced, or are not there. Its method must have
// a [Lookup], by which all attempts together have one effect; others refuse it. id is the
// call's for all of them, so two calls must not share one; zero: a new one, see
// [Error].XID. Who keeps id and arguments can go on with the call after a restart of its own.
//
// If the context ends before, the call may have taken place, and may still: [Voided] closes it.
// An error of the handler says that its attempt has done nothing; it is [Indeterminate] if an
// attempt before it may not be over.
//
// Calls within the process ([Server.Local]) are attempted once.
func ExactlyOnce(id XID) CallOption {
	return func(u *client.Call) {
		u.As, u.Tries, u.Idempotent, u.Wait = id, math.MaxInt, true, true
		if id == (XID{}) {
			u.As = NewXID()
		}
	}
}

// unsafe tells whether a call must not be made more than once, although that is asked.
func unsafe(u *client.Call) error {
	why := ""
	switch {
	case u.As != (XID{}) && (u.OneWay || u.Lane != 0):
		why = "exactly once is neither for one-way calls nor for lanes"
	case u.Hedge && (!u.ReadOnly || u.OneWay || u.Lane != 0):
		why = "hedges are for calls that change nothing, have a result, and are in no lane"
	case u.NoRetry && (u.Idempotent || u.Tries > 1):
		why = "no retry is for calls that do not say that they may run again"
	case u.Tries > 1 && !u.Idempotent:
		why = "at least once is for idempotent calls"
	default:
		return nil
	}
	return &Error{Method: u.Method, Code: Invalid, Execution: NotExecuted, Message: why}
}

// again tells whether another attempt is to be made after the try-th, and how long to wait
// before.
func again(ctx context.Context, u *client.Call, try int) (pause time.Duration, yes bool) {
	ran := u.Outcome.Execution == session.Executed && u.As == (XID{}) // else that is the end of it
	u.Doubt = u.Doubt || ran || u.Outcome.Execution == session.Indeterminate
	if try >= u.Tries || ctx.Err() != nil || lost(u) {
		return 0, false
	}
	if u.As != (XID{}) {
		return pauseAfter(u, try), !definite(u)
	}
	switch u.Outcome.Code {
	case session.NoServer, session.Refused:
		return pauseAfter(u, try), u.Retry >= 0
	case session.DeadlineExceeded, session.Lost, session.Expired, session.Crashed, session.ReplyLost:
		return 0, true
	}
	return 0, false
}

// pauseAfter is how long to wait after the try-th attempt: until the server says, and twice as
// long each time.
func pauseAfter(u *client.Call, try int) time.Duration {
	pause := min(100*time.Millisecond<<min(try-1, 10), 10*time.Second)
	return max(u.Retry, pause*4/5+rand.N(pause*2/5)) //nolint:gosec // spreads load, hides nothing
}

// definite tells whether it is known what has come of a call that is made exactly once.
func definite(u *client.Call) bool {
	switch u.Outcome.Code {
	case session.OK, session.Failed, session.Invalid, session.Unimplemented:
		return true
	case session.ReplyLost:
		return u.Retry < 0 // the record itself cannot be read
	}
	return false
}

// settled makes the last outcome that of all attempts.
func settled(u *client.Call) {
	if u.As == (XID{}) {
		if u.Doubt && u.Outcome.Execution == session.NotExecuted {
			u.Outcome.Execution = session.Indeterminate
		}
		return
	}
	if !u.Doubt || u.Outcome.Code == session.OK || u.Outcome.Code == session.ReplyLost {
		return
	}
	if reason, _ := parseDetail(u.Detail); Reason(reason) != Void {
		u.Outcome.Execution = session.Indeterminate
	}
}

// attempt is the context of one attempt.
func attempt(ctx context.Context, u *client.Call) (context.Context, context.CancelFunc) {
	if u.Each == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, u.Each)
}

// repeat makes a call as often as it is to be made.
func (c *Client) repeat(ctx context.Context, u *client.Call) {
	if u.Tries <= 1 {
		c.once(ctx, u)
		return
	}
	servers := 0
	defer settled(u)
	for try := 1; ; try++ {
		one, cancel := attempt(ctx, u)
		c.once(one, u)
		cancel()
		servers += u.Attempts
		u.Attempts = servers
		pause, yes := again(ctx, u, try)
		if !yes || !sleep.For(pause, ctx.Done()) {
			return
		}
		u.Text, u.Detail = "", nil
	}
}

// once makes one attempt.
func (c *Client) once(ctx context.Context, u *client.Call) {
	if !u.Hedge {
		c.attemptOnce(ctx, u)
		return
	}
	done := make(chan struct{})
	c.c.Hedge(ctx, u, func(*client.Call) { close(done) })
	<-done
	c.result(ctx, u)
}

// spawnOnce is once for who does not wait.
func (c *Client) spawnOnce(ctx context.Context, u *client.Call, done func(*client.Call)) {
	ended := func(u *client.Call) {
		if u.Outcome.Blobs == 0 {
			c.result(ctx, u)
			done(u)
			return
		}
		go func() { // who brings the end of a call must not wait for its blobs
			c.result(ctx, u)
			done(u)
		}()
	}
	switch {
	case u.Hedge:
		c.c.Hedge(ctx, u, ended)
	case c.byBlob(u):
		go func() {
			c.attemptOnce(ctx, u)
			done(u)
		}()
	default:
		c.c.Start(ctx, u, ended)
	}
}

// repeatAsync is repeat for who does not wait.
func (c *Client) repeatAsync(ctx context.Context, u *client.Call, try int, done func(*client.Call)) {
	if u.Tries <= 1 {
		c.spawnOnce(ctx, u, done)
		return
	}
	one, cancel := attempt(ctx, u)
	before := u.Attempts
	c.spawnOnce(one, u, func(u *client.Call) {
		cancel()
		u.Attempts += before
		pause, yes := again(ctx, u, try)
		if !yes {
			settled(u)
			done(u)
			return
		}
		go func() { // whoever brings the end of a call must not wait
			if !sleep.For(pause, ctx.Done()) {
				settled(u)
				done(u)
				return
			}
			u.Text, u.Detail = "", nil
			c.repeatAsync(ctx, u, try+1, done)
		}()
	})
}
