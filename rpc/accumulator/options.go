package accumulator

import (
	"context"
	"crypto/rand"
	"runtime"
	"time"
)

// Pusher brings a batch to a [Server], by one call that runs [Server.Push] at most
// once. It returns
//
//   - nil if Server.Push returned nil;
//   - an error that is [ErrRejected] if Server.Push returned such a one: the batch
//     is not pushed again;
//   - any other error if nothing is known, or the call did not run. The batch is pushed
//     again until one of the above comes; the server recognises it.
//
// If the call did certainly not run and never will, an error that has a method
// NotExecuted() bool, somewhere in its tree, tells so by true. It makes no
// difference but to a batch that could not be pushed for half of the server's lease.
//
// Push must return when ctx ends, and not change batch. It is not called again before it
// has returned.
type Pusher interface {
	Push(ctx context.Context, batch []byte) error
}

// Options of a [Client]. The zero value of each field means its default.
type Options struct {
	// ID must not be that of another client, not even of an earlier one. Default:
	// 128 random bits.
	ID ID
	// Writes is after how many writes to an accumulator all are flushed. Several
	// goroutines may have made up to half as many more by then. Default 1024.
	Writes int
	// Interval is after what time what was written is flushed anyway. Default 1 s.
	Interval time.Duration
	// PushTimeout bounds one push; then it is tried again. Default 10 s.
	PushTimeout time.Duration
	// Pause is how long to wait after a push that failed. It doubles each time, up to
	// MaxPause. Defaults 10 ms and 1 s.
	Pause, MaxPause time.Duration
	// Shards is over how many places the writes to an accumulator are spread; it is
	// rounded up to a power of two. Default: twice GOMAXPROCS, at most 64.
	Shards int
	// MaxSeries bounds how many accumulators the client has. Default 10,000.
	MaxSeries int
	// ScopeTimers says whether scope timers are on at first: see [TimerWriter.Start].
	ScopeTimers bool
	// OnError is told what was not merged, and what cannot be written. It is called by who
	// asks for a handle, or by the goroutine that pushes, which it holds up.
	OnError func(error)
}

func (o Options) withDefaults() Options {
	set(&o.Writes, 1024)
	set(&o.Interval, time.Second)
	set(&o.PushTimeout, 10*time.Second)
	set(&o.Pause, 10*time.Millisecond)
	set(&o.MaxPause, time.Second)
	set(&o.Shards, min(2*runtime.GOMAXPROCS(0), 64))
	set(&o.MaxSeries, 10_000)
	for o.ID == (ID{}) {
		_, _ = rand.Read(o.ID[:]) // it does not fail: it would end the program
	}
	return o
}
