package rpc

import (
	"context"
	"math/rand/v2"
	"time"

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

// unsafe tells whether a call must not be made more than once, although that is asked.
func unsafe(u *client.Call) error {
	if u.Tries > 1 && !u.Idempotent {
		return &Error{Method: u.Method, Code: Invalid, Execution: NotExecuted, Message: "at least once is for idempotent calls"}
	}
	return nil
}

// again tells whether another attempt is to be made after the try-th, and how long to wait
// before.
func again(ctx context.Context, u *client.Call, try int) (pause time.Duration, yes bool) {
	if try >= u.Tries || ctx.Err() != nil {
		return 0, false
	}
	switch u.Outcome.Code {
	case session.NoServer, session.Refused:
		pause = min(100*time.Millisecond<<min(try-1, 10), 10*time.Second)
		pause = max(u.Retry, pause*4/5+rand.N(pause*2/5)) //nolint:gosec // spreads load, hides nothing
		return pause, u.Retry >= 0
	case session.DeadlineExceeded, session.Lost, session.Expired, session.Crashed, session.ReplyLost:
		return 0, true
	}
	return 0, false
}

// repeat makes a call as often as it is to be made.
func (c *Client) repeat(ctx context.Context, u *client.Call) {
	if u.Tries <= 1 {
		c.c.Do(ctx, u)
		return
	}
	servers := 0
	for try := 1; ; try++ {
		one, cancel := context.WithTimeout(ctx, u.Each)
		c.c.Do(one, u)
		cancel()
		servers += u.Attempts
		u.Attempts = servers
		pause, yes := again(ctx, u, try)
		if !yes || !sleep(ctx, pause) {
			return
		}
		u.Text, u.Detail = "", nil
	}
}

// repeatAsync is repeat for who does not wait.
func (c *Client) repeatAsync(ctx context.Context, u *client.Call, try int, done func(*client.Call)) {
	if u.Tries <= 1 {
		c.c.Start(ctx, u, done)
		return
	}
	one, cancel := context.WithTimeout(ctx, u.Each)
	before := u.Attempts
	c.c.Start(one, u, func(u *client.Call) {
		cancel()
		u.Attempts += before
		pause, yes := again(ctx, u, try)
		if !yes {
			done(u)
			return
		}
		go func() { // whoever brings the end of a call must not wait
			if !sleep(ctx, pause) {
				done(u)
				return
			}
			u.Text, u.Detail = "", nil
			c.repeatAsync(ctx, u, try+1, done)
		}()
	})
}

// sleep waits, and tells whether ctx has not ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
