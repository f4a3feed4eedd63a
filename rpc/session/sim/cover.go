package sim

import (
	"fmt"
	"strings"

	"rpcpool.dev/rpc/session"
)

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

// String is where it is.
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
	if p := before(e); p != beforeRecord {
		return p + 1
	}
	return afterRecord
}

// Coverage counts what schedules have led to.
type Coverage struct {
	crashes  [crashPoints]int
	outcomes [session.Executed + 1]int
	codes    [session.ReplyLost + 1]int
	events   [seen]int
}

// sight is something that a schedule may lead to.
type sight uint8

const (
	calls sight = iota
	happened
	resends
	moves
	lateReplies
	lostSessions
	takenBack
	duplicates
	staleCalls
	expiries
	droppedReplies
	lostRecords
	interrupted
	suppliedThere
	suppliedHere
	unmetCalls
	unmetThere
	returns
	returnsAnew
	returnsRestarted
	returnsAgain
	returnsOpen
	givenUpBeside
	lateMessages
	lateCalls
	lateGone
	lateAnswers
	onceCalls
	onceTakenBack
	onceAsked
	onceNotRun
	onceDoubtful
	onceAnswered
	onceGone
	lanesBehind
	lanesBeside
	astrayConns
	seen
)

// String says what was seen.
func (s sight) String() string {
	return [...]string{
		"calls", "events", "calls sent again", "calls sent to another server", "late replies",
		"sessions that a server had lost", "calls taken back from a connection", "duplicates",
		"calls that were closed when they came", "leases that ran out", "replies dropped for the budget",
		"records lost with the power", "interrupts",
		"calls that a server gave the results of others", "calls that their client gave them",
		"calls that needed what had failed", "calls that a server could not give what they need",
		"servers that came back to the list", "with a new epoch", "by a new life", "for the second time",
		"while calls were open there", "calls that were given up then", "messages that came after those of a later session", "calls among them",
		"those whose session had ended", "answers of sessions that were given up",
		"calls that were to be sent once", "taken back from a connection, and sent by another", "asked for after the loss of theirs",
		"which had not run", "of which nobody knew", "which had ended", "those whose session was lost",
		"calls in lanes that came while one of a session that was left ran on", "while one of a session beside theirs ran",
		"connections to another server than the one that was meant",
	}[s]
}

// back counts a server that a program finds on the list again.
func (c *Coverage) back(at *seat) {
	c.events[returns]++
	if at.epoch != at.before.epoch {
		c.events[returnsAnew]++
	}
	if at.life != at.before.life {
		c.events[returnsRestarted]++
	}
	if at.before.before != nil {
		c.events[returnsAgain]++
	}
	if at.before.open() {
		c.events[returnsOpen]++
	}
}

// late counts a message that comes after one of a later session.
func (c *Coverage) late(m *session.Message, fx []session.Effect) {
	c.events[lateMessages]++
	if m.Kind == session.Call {
		c.events[lateCalls]++
	}
	if len(fx) > 0 && fx[0].Msg.Kind == session.Gone {
		c.events[lateGone]++
	}
}

// once counts how a call has ended that was to be sent once, if it was sent.
func (c *Coverage) once(k *call) {
	if !k.noRetry {
		return
	}
	c.events[onceCalls]++
	if k.unsent > 0 && k.sendings > 0 {
		c.events[onceTakenBack]++
	}
	o := k.inv.Outcome
	if o.Code == session.Expired || o.Code == session.Lost && !k.asked {
		c.events[onceGone]++
	}
	if !k.asked {
		return
	}
	c.events[onceAsked]++
	switch {
	case o.Code == session.Lost && o.Execution == session.NotExecuted:
		c.events[onceNotRun]++
	case o.Code == session.Lost:
		c.events[onceDoubtful]++
	case o.Execution == session.Executed:
		c.events[onceAnswered]++
	}
}

// Add adds another's counts.
func (c *Coverage) Add(o *Coverage) {
	add(c.crashes[:], o.crashes[:])
	add(c.outcomes[:], o.outcomes[:])
	add(c.codes[:], o.codes[:])
	add(c.events[:], o.events[:])
}

func add(to, from []int) {
	for i := range to {
		to[i] += from[i]
	}
}

// counts adds what the machines have counted.
func (c *Coverage) counts(r *run) {
	c.events[calls] += len(r.truth.calls)
	c.events[happened] += int(r.w.n)
	for _, p := range r.programs {
		c.events[resends] += int(p.client.Counts.Resends)
		c.events[moves] += int(p.client.Counts.Moves)
		c.events[lateReplies] += int(p.client.Counts.Late)
		c.events[lostSessions] += int(p.client.Counts.Lost)
	}
	for _, s := range r.all {
		c.events[duplicates] += int(s.domain.Counts.Duplicates)
		c.events[staleCalls] += int(s.domain.Counts.Stale)
		c.events[expiries] += int(s.domain.Counts.Expired)
		c.events[droppedReplies] += int(s.domain.Counts.Dropped)
	}
}

// Missing returns what n schedules should have led to and have not: every crash
// point, every outcome and every sight at least once in a thousand schedules.
func (c *Coverage) Missing(n uint64) []string {
	var missing []string
	least := int(n / 1000)
	c.each(func(what fmt.Stringer, count int) {
		if count < least {
			missing = append(missing, fmt.Sprintf("only %d times: %s", count, what))
		}
	})
	return missing
}

// each visits all counts.
func (c *Coverage) each(visit func(fmt.Stringer, int)) {
	for i, n := range c.events {
		visit(sight(i), n)
	}
	for i, n := range c.outcomes {
		visit(session.Execution(i), n)
	}
	for i, n := range c.codes {
		visit(session.Code(i), n)
	}
	for i, n := range c.crashes {
		visit(crashPoint(i), n)
	}
}

// String is a table.
func (c *Coverage) String() string {
	var b strings.Builder
	c.each(func(what fmt.Stringer, n int) { fmt.Fprintf(&b, "%12d  %s\n", n, what) })
	return b.String()
}
