package server

import (
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/conn"
)

const (
	// quickTime is how long a run of a quick method takes, at most.
	quickTime = 50 * time.Microsecond
	// trustAfter is how many runs in a row must have been quick.
	trustAfter = 4
	// distrust is how many more must be if one was not.
	distrust = 16
)

// laster has a reader that can run a job.
type laster interface{ Last(r conn.Last) bool }

// pace is how quick a method has been lately: how many runs were, since it was trusted for
// the last time, or negative.
type pace struct{ quick atomic.Int32 }

// took notes how long a run took.
func (p *pace) took(d time.Duration) {
	switch n := p.quick.Load(); {
	case d > quickTime:
		p.quick.Store(-distrust)
	case n < trustAfter:
		p.quick.Store(n + 1)
	}
}

// trusted tells whether the next run will be quick, most likely.
func (p *pace) trusted() bool { return p.quick.Load() >= trustAfter }
