package server

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
)

// Local runs calls in this process: each in a goroutine, of which those that have
// nothing to do are kept for the next. That may be the connection's reader, if the method
// has been quick lately: if it is not this time, another goroutine reads. A handler that panics ends its call with an
// error.
type Local struct {
	Log *slog.Logger // of panics; may be nil

	blobs lender

	mu   sync.Mutex
	idle []chan *Job
	down bool
	runs sync.WaitGroup
}

// idleMost is how many goroutines are kept.
const idleMost = 256

var _ Executor = (*Local)(nil)

// Execute implements [Executor].
func (l *Local) Execute(j *Job) {
	j.local = l
	if j.Method.Inline {
		j.reader = j.from
		l.run(j)
		return
	}
	if j.last != nil && j.stream == nil && j.quickLent() && j.Method.pace.trusted() && j.last.Last((*last)(j), j.Method.pace.cost()) {
		return
	}
	l.hand(j)
}

// hand gives a job to a goroutine.
func (l *Local) hand(j *Job) {
	l.mu.Lock()
	if n := len(l.idle); n > 0 {
		next := l.idle[n-1]
		l.idle = l.idle[:n-1]
		l.mu.Unlock()
		next <- j
		return
	}
	l.runs.Add(1)
	l.mu.Unlock()
	go l.work(j)
}

// last is a job that the reader which has brought it runs.
type last Job

// Run implements [conn.Last].
func (j *last) Run() {
	l := j.local
	l.mu.Lock()
	l.runs.Add(1)
	l.mu.Unlock()
	defer l.runs.Done()
	j.behind = true
	l.run((*Job)(j))
}

// Pass implements [conn.Last].
func (j *last) Pass() { j.local.hand((*Job)(j)) }

// Interrupt implements [Executor]: the context is all that a handler has.
func (l *Local) Interrupt(*Job) {}

// work runs one job after another.
func (l *Local) work(j *Job) {
	defer l.runs.Done()
	next := make(chan *Job, 1)
	for {
		l.run(j)
		l.mu.Lock()
		if l.down || len(l.idle) >= idleMost {
			l.mu.Unlock()
			return
		}
		l.idle = append(l.idle, next)
		l.mu.Unlock()
		var more bool
		if j, more = <-next; !more {
			return
		}
	}
}

func (l *Local) run(j *Job) {
	code, reply := session.Failed, []byte(nil)
	returned, ran := false, true
	var start time.Time
	defer func() {
		if !returned { // runtime.Goexit
			reply = wire.Failure(0, "handler ended its goroutine", nil)
			if j.Method.Recorded { // it may have recorded something before
				code = session.Lost
			}
		}
		if j.loan != nil || len(reply) >= LongResult {
			reply = l.giveBack(j, code, reply)
		}
		if returned && ran {
			j.Method.pace.took(time.Since(start), quickTime) // also of what is copied
		}
		if j.bare != nil {
			j.bare.answer(j, ran, code, reply)
			return
		}
		if !ran {
			j.core.Decline(j, code, reply)
			return
		}
		j.core.Return(j, code, reply)
	}()
	if j.loan != nil {
		if code, reply, ran = l.borrow(j); !ran {
			returned = true
			return
		}
	}
	start = time.Now()
	if j.deadline != 0 && j.core.now() >= j.deadline {
		code, ran, returned = session.DeadlineExceeded, false, true
		return
	}
	code, reply = l.call(j)
	returned = true
}

// call runs the handler. What it has borrowed may be memory that it cannot write, or that its
// owner has cut short: touching that is an error of its call, and does not end the process.
func (l *Local) call(j *Job) (code session.Code, reply []byte) {
	if j.loan != nil {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	}
	defer func() {
		if r := recover(); r != nil {
			if j.borrowed(r) {
				r = fmt.Sprintf("a borrowed argument was touched as it must not be, such as written although it is only to be read: %v", r)
			}
			if l.Log != nil {
				l.Log.Error("handler panicked", "method", j.Method.Name, "xid", j.XID(), "trace", wire.FormatTrace(j.Trace), "panic", r, "stack", string(debug.Stack()))
			}
			code, reply = session.Failed, wire.Failure(0, fmt.Sprintf("handler panicked: %v", r), nil)
		}
	}()
	return j.Method.Run(j)
}

// Close lets the goroutines end, and waits until none runs.
func (l *Local) Close() error {
	l.mu.Lock()
	l.down = true
	for _, next := range l.idle {
		close(next)
	}
	l.idle = nil
	l.mu.Unlock()
	l.runs.Wait()
	return nil
}
