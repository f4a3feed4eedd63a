package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// firstPause is how long Request waits before it asks again a tracker that
// could not be reached; it doubles each time.
const firstPause = 100 * time.Millisecond

// Request asks the tracker for a server of a device key and opens a session on
// it, as a stock client does: it waits until one is free, however long, and if
// the session cannot be opened it asks for another, [Options].MaxRetry times in
// all. Only the context bounds the wait.
func Request(ctx context.Context, trackerAddr, key string, o Options) (*Session, error) {
	o = o.withDefaults()
	r := requester{addr: trackerAddr, key: key, options: o}
	defer r.drop()
	var last error
	for try := range o.MaxRetry {
		if try > 0 && r.tracker == nil {
			if !sleep.For(firstPause<<(try-1), ctx.Done()) {
				return nil, fmt.Errorf("request %q: %w", key, context.Cause(ctx))
			}
		}
		s, err := r.attempt(ctx)
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("request %q: %w", key, err)
		}
		last = err
	}
	return nil, fmt.Errorf("request %q: no session after %d tries, the last: %w", key, o.MaxRetry, last)
}

// requester keeps the tracker's connection from one attempt to the next.
type requester struct {
	addr, key string
	options   Options
	tracker   *tracker.Client
}

func (r *requester) attempt(ctx context.Context) (*Session, error) {
	grant, err := r.grant(ctx)
	if err != nil {
		r.drop()
		return nil, err
	}
	return Dial(ctx, net.JoinHostPort(grant.Host, tvm.PortText(grant.Port)), grant.MatchKey, r.options)
}

func (r *requester) grant(ctx context.Context) (tvm.Grant, error) {
	if r.tracker == nil {
		dialCtx, cancel := context.WithTimeout(ctx, r.options.DialTimeout)
		defer cancel()
		t, err := tracker.Dial(dialCtx, r.addr)
		if err != nil {
			return tvm.Grant{}, err
		}
		r.tracker = t
	}
	grant, err := r.tracker.Request(ctx, r.key, r.options.Priority)
	if err != nil {
		return tvm.Grant{}, fmt.Errorf("tracker %s: %w", r.addr, err)
	}
	if tvm.PortText(grant.Port) == "" {
		return tvm.Grant{}, errors.New("tracker granted a server without a port")
	}
	return grant, nil
}

func (r *requester) drop() {
	if r.tracker != nil {
		_ = r.tracker.Close()
		r.tracker = nil
	}
}
