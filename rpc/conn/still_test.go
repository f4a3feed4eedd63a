package conn

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// elapsed is a clock that tests move.
type elapsed struct{ now atomic.Int64 }

func (e *elapsed) at() time.Duration      { return time.Duration(e.now.Load()) }
func (e *elapsed) pass(d time.Duration)   { e.now.Add(int64(d)) }
func (e *elapsed) of(o *PoolOptions) Dial { o.Elapsed = e.at; return (&net.Dialer{}).DialContext }

// A process stands still while it connects: it is stopped, or its machine sleeps. What it sees of its
// attempt then says nothing of the server.
func TestWhoStoodStillWhileItConnectedTriesOnceMore(t *testing.T) {
	cut := func(ctx context.Context, dial Dial, network, addr string) (net.Conn, error) { // as by a server that has waited for the hello
		nc, err := dial(ctx, network, addr)
		if err == nil {
			_ = nc.Close()
		}
		return nc, err
	}
	late := func(context.Context, Dial, string, string) (net.Conn, error) { return nil, os.ErrDeadlineExceeded }
	tests := map[string]struct {
		first         func(context.Context, Dial, string, string) (net.Conn, error)
		still         []time.Duration // during each attempt
		dials, failed uint64
		err           error
	}{
		"the time-out is seen late":              {late, []time.Duration{4 * time.Second}, 2, 1, nil},
		"the server has closed meanwhile":        {cut, []time.Duration{4 * time.Second}, 2, 1, nil},
		"it did not stand still":                 {late, []time.Duration{900 * time.Millisecond}, 1, 1, ErrNoServer},
		"it is refused by who is there, at once": {cut, nil, 1, 1, ErrNoServer},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server, clock, n := startServer(t, &echo{}, nil), &elapsed{}, 0
			c := newPoolCaller()
			p := newPool(t, c, func(o *PoolOptions) {
				dial := clock.of(o)
				o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					if n++; n > 1 {
						return dial(ctx, network, addr)
					}
					for _, d := range test.still {
						clock.pass(d)
					}
					return test.first(ctx, dial, network, addr)
				}
			})
			_, err := echoOnce(t.Context(), newService(t, p, server.endpoint("a")), c, "x")
			if got := p.Counts(); !errors.Is(err, test.err) || got.Dials != test.dials || got.Failed != test.failed {
				t.Errorf("%v; %d dials, %d failed, want %v, %d, %d", err, got.Dials, got.Failed, test.err, test.dials, test.failed)
			}
		})
	}
}

// Who stands still again and again finds nobody, and does not try for ever.
func TestWhoStandsStillAgainFindsNobody(t *testing.T) {
	clock := &elapsed{}
	p := newPool(t, newPoolCaller(), func(o *PoolOptions) {
		clock.of(o)
		o.Dial = func(context.Context, string, string) (net.Conn, error) {
			clock.pass(time.Minute)
			return nil, os.ErrDeadlineExceeded
		}
	})
	_, err := newService(t, p, Endpoint{ID: "a", TCP: "x:1"}).Acquire(t.Context())
	if n := p.Counts().Dials; !errors.Is(err, ErrNoServer) || n != 2 {
		t.Errorf("%v after %d dials", err, n)
	}
}

// The attempt after that is the server's chance, not the caller's duty: it has its own time.
func TestNobodyWaitsLongerForASecondAttemptThanItWants(t *testing.T) {
	clock, second := &elapsed{}, make(chan struct{})
	p := newPool(t, newPoolCaller(), func(o *PoolOptions) {
		clock.of(o)
		first := true
		o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			if first {
				first = false
				clock.pass(time.Minute)
				return nil, os.ErrDeadlineExceeded
			}
			close(second)
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the caller's time is over")
	go func() {
		<-second
		cancel(why)
	}()
	if _, err := newService(t, p, Endpoint{ID: "a", TCP: "x:1"}).Acquire(ctx); !errors.Is(err, why) {
		t.Errorf("it ends with %v", err)
	}
}

func TestAPulseTellsStandingStillFromTime(t *testing.T) {
	for name, test := range map[string]struct {
		asleep time.Duration // and the process's timers with it
		want   bool
	}{
		"a long time, and all of it was lived through": {0, false},
		"a timer that is late":                         {stillMost - pulseEvery, false},
		"a moment in a long time that was not":         {stillMost, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, clock := time.Now(), &elapsed{}
				p := startPulse(func() time.Duration { return time.Since(begin) + clock.at() })
				time.Sleep(time.Minute) // of synctest's clock, which passes at once
				clock.pass(test.asleep)
				time.Sleep(time.Minute)
				if got := p.stop(); got != test.want {
					t.Errorf("it stood still: %v", got)
				}
			})
		})
	}
}

// The machine's clock goes on with this process, and with a machine that sleeps.
func TestTheClockOfElapsedTimeGoesOn(t *testing.T) {
	began, was := time.Now(), elapsedHere()
	<-time.After(5 * time.Millisecond)
	if got, want := elapsedHere()-was, time.Since(began); got < 5*time.Millisecond || got > want+time.Second {
		t.Errorf("%v have passed, want %v", got, want)
	}
}
