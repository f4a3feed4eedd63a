package server

import (
	"sync/atomic"
	"time"

	"rpcpool.dev/rpc/conn"
)

const (
	// quickTime is how long a run of a quick method takes, at most.
	quickTime = 50 * time.Microsecond
	// quickApart is the same of a run in another process, which has to be woken.
	quickApart = 10 * quickTime
	// trustAfter is how many runs in a row must have been quick.
	trustAfter = 4
	// distrust is how many more must be if one was not.
	distrust = 16
	// callTime is what the server does for a call while it runs, without the handler.
	callTime = 500 * time.Nanosecond
)

// laster has a reader that can run a job, which takes that long.
type laster interface {
	Last(r conn.Last, cost time.Duration) bool
	LastAlone(r conn.Last) bool
}

// Await has the reader of the job's connection run r, which sees to the job and waits for its
// end, when it has handled what it has read: so nobody has to be woken. It returns false if it does
// not: there is no such reader, it has other callers to serve, or the method has
// taken long lately. It is for [Executor.Execute].
func (j *Job) Await(r conn.Last) bool {
	return j.last != nil && j.Method.pace.trusted() && j.last.LastAlone(r)
}

// Round is the connection whose reader brings the job to [Executor.Execute], while that runs: what
// is queued on others then can be written at the end of its round. nil: none does.
func (j *Job) Round() *conn.Conn { return j.round }

// EndsIn says that the reader of a connection, which is no client's, is about to say how the job has
// ended: what clients are told then is written at the end of its round.
func (j *Job) EndsIn(round *conn.Conn) { j.ending = round }

// pace is how quick a method has been lately.
type pace struct {
	quick atomic.Int32 // how many runs were, since it was trusted for the last time, or negative
	mean  atomic.Int64 // of their times, in ns: the latest count most
}

// meanOf is how many runs the mean is of, more or less.
const meanOf = 8

// took notes how long a run took, and how long it may.
func (p *pace) took(d, most time.Duration) {
	switch n := p.quick.Load(); {
	case d > most:
		p.quick.Store(-distrust)
	case n < trustAfter:
		p.quick.Store(n + 1)
	}
	was := p.mean.Load()
	p.mean.Store(was + (int64(min(d, quickTime))-was)/meanOf)
}

// trusted tells whether the next run will be quick, most likely.
func (p *pace) trusted() bool { return p.quick.Load() >= trustAfter }

// cost is how long a run of a quick method takes, with what is done for each call.
func (p *pace) cost() time.Duration { return callTime + time.Duration(p.mean.Load()) }
