package sim

import "rpcpool.dev/rpc/session"

// crashPoint is a place in which a server's process, or a worker, may die.
type crashPoint uint8

const (
	beforeRecord crashPoint = iota // nothing of it is written
	tornRecord                     // it is cut short: it counts as not written
	afterRecord
	beforeSend
	afterSend
	beforeQueue
	afterQueue
	beforeExecute
	afterExecute
	beforeInterrupt
	afterInterrupt
	workerDeadBefore // before the call was handed over
	workerDeadIdle   // while it ran, without an effect
	workerDeadAfter  // after the effect, before the reply
	crashPoints
)

func (p crashPoint) String() string {
	return [...]string{
		"before a record", "in a record", "after a record", "before a send", "after a send",
		"before a call is queued", "after a call is queued", "before a hand-over", "after a hand-over",
		"before an interrupt", "after an interrupt",
		"worker, before the hand-over", "worker, before the effect", "worker, after the effect",
	}[p]
}

func before(e *session.Effect) crashPoint {
	switch e.Do {
	case session.Append:
		return beforeRecord
	case session.Queue:
		return beforeQueue
	case session.Execute:
		return beforeExecute
	case session.Interrupt:
		return beforeInterrupt
	}
	return beforeSend
}

func after(e *session.Effect) crashPoint {
	p := before(e) + 1
	if p == tornRecord {
		return afterRecord
	}
	return p
}

// Coverage counts what schedules have led to.
type Coverage struct {
	passed, crashed [crashPoints]int
	outcomes        [3]int
	codes           [11]int
	unsent          int // calls that were taken back from a connection
	calls, events   int
	client          session.ClientCounts
	domain          session.DomainCounts
}
