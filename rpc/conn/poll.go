package conn

import (
	"runtime"
	"sync/atomic"
	"time"
)

// Who sleeps until something comes pays for being woken, and so does the other, who waits
// for it: on a machine that has nothing else to do that is most of what a short call
// takes. So a reader that expects one message, soon, and has nothing else to do may look
// for it instead: a client's, while its only call is open; a server's, when it has answered
// its client's only call. It pays where both sides do so: the kernel takes who wakes another for
// one that is about to sleep, and lets both share a processor. So both try it at the same
// calls, which they know by their numbers, and decide by what they have measured:
//
//	number of the call, modulo 1024
//	0              32        48          64                         1024
//	├─ as decided ──┼─ look ──┼─ sleep ───┼─ as decided ──────────────┤
//
// Who has decided as before skips the next trial, then the next three, up to 31 of them if it
// does not look, and up to 15 if it does: where looking pays, a message that is slept for may take ten
// times as long. Who looks gives it up when it has lost twice. So a
// reader whose messages take long loses 1 µs a message at first, and soon a thirtieth of one.
//
// Where several callers are at work messages come at any time, and who sleeps between them
// does not sleep long. There a reader looks, too, but lets goroutines run meanwhile, not processes:
// those it has just woken have something to send. It finds out by itself whether that pays:
// a look that finds nothing makes it sleep in the next waits without one, twice as many each time.
//
// By memory ([Options.Ring]) it lets processes run, too, and looks for longer: a call goes through three of them
// then, and each waits for what the two others do with all that has come together.
//
// Half of the processors look, at most, and none if there is but one. And where others compute, who gives them
// its processor for a moment has it back a slice of some milliseconds later, when who sleeps would have been woken
// at once: who finds that out twice in a few looks does not look in the next thousand waits, or more.
const (
	// pollTime is how long a reader looks before it sleeps: what a short call and its
	// answer take, and a sleep and its end cost.
	pollTime = 50 * time.Microsecond
	// ringTime is the same of who reads from memory, where several callers are at work: what sixteen calls
	// and their answers take from process to process.
	ringTime = 300 * time.Microsecond
	// ringTurn is every how many-th time such a reader lets goroutines run, and not processes: that
	// wakes a thread where one has nothing to do.
	ringTurn = 16
	// pollCap is what a longer wait counts for: what the message was waited for is then not
	// the connection's doing.
	pollCap    = 2 * pollTime
	pollCycle  = 1024
	pollLook   = 32
	pollSleep  = pollLook + pollTrial
	pollDecide = pollSleep + pollTrial
	pollTrial  = 16
	// lostTime is how long a processor that was given to others is away where they compute: what a peer does with
	// a message takes less.
	lostTime  = 500 * time.Microsecond
	lostLooks = 4       // two losses within as many looks are no chance
	lostSleep = 1 << 10 // waits without a look then, and twice as many each time that goes on
	lostMost  = 1 << 14
	pollSkip  = 5 // 2 to this is the longest pause of who does not look, in cycles
	pollAgain = 4 // and of who does
)

// polls is how many readers of this process look. The processors are the process's, too.
var polls atomic.Int32

// poll is a reader's habit of looking before it sleeps.
type poll struct {
	due   bool    // the next wait is for one message, and there is nothing else to do
	looks bool    // as decided
	same  int     // trials in a row that have changed nothing
	doubt bool    // it looks, and the last trial was against it
	until uint64  // number of the call until which it must not look
	tried [2]mean // looking, sleeping
}

// mean is that of so many times.
type mean struct {
	n   int
	sum time.Duration
}

// await reads what there is, waiting for it.
func (rd *reader) await(p []byte) (n int, err error) {
	due := rd.poll.due
	rd.poll.due = false
	switch {
	case rd.try == nil:
		return rd.c.nc.Read(p) //nolint:wrapcheck // the caller does
	case rd.crowd.rounds > 0:
		return rd.awaitMore(p)
	case !due:
		return rd.c.nc.Read(p) //nolint:wrapcheck // the caller does
	}
	look, trial := rd.poll.at(rd.seq)
	if !look && trial == nil {
		return rd.c.nc.Read(p) //nolint:wrapcheck // the caller does
	}
	start := time.Now()
	if look {
		n, err = rd.look(p, start, pollTime, yield)
	}
	if n == 0 && err == nil {
		n, err = rd.c.nc.Read(p)
	}
	if trial != nil {
		trial.n++
		trial.sum += min(time.Since(start), pollCap)
	}
	return n, err //nolint:wrapcheck // the caller does
}

// awaitMore is await where several callers are at work.
func (rd *reader) awaitMore(p []byte) (n int, err error) {
	if rd.crowd.looks() {
		if rd.c.shared != nil {
			turn := -1
			n, err = rd.look(p, time.Now(), ringTime, func() {
				if turn++; turn%ringTurn == 0 {
					runtime.Gosched()
				} else {
					yield()
				}
			})
		} else {
			n, err = rd.look(p, time.Now(), pollTime, runtime.Gosched)
		}
		rd.crowd.looked(n > 0 || err != nil)
	}
	if n == 0 && err == nil {
		n, err = rd.c.nc.Read(p)
	}
	return n, err //nolint:wrapcheck // the caller does
}

// look reads what comes within a time, and lets others run all the while: yield other
// processes, who may have been woken on this processor, runtime.Gosched other goroutines.
func (rd *reader) look(p []byte, start time.Time, most time.Duration, letRun func()) (n int, err error) {
	defer polls.Add(-1)
	if int(polls.Add(1)) > processors()/2 {
		return 0, nil
	}
	rd.looks++
	for before := time.Duration(0); ; letRun() {
		n, err = rd.try.look(p)
		now := time.Since(start)
		if now-before >= lostTime {
			rd.lost()
			return n, err
		}
		if n > 0 || err != nil || now >= most {
			return n, err
		}
		before = now
	}
}

// lost notes that the processor was away for long. One time is chance.
func (rd *reader) lost() {
	last := rd.lostAt
	if rd.lostAt = rd.looks; last == 0 || rd.looks-last > lostLooks {
		rd.lostFor = 0
		return
	}
	rd.lostFor = min(max(2*rd.lostFor, lostSleep), lostMost)
	rd.crowd.sleeps = rd.lostFor
	rd.poll.lose(rd.seq + uint64(rd.lostFor))
}

// expectMore makes the next wait worth a look, if a client's only call has been answered
// since there were so many answers.
func (rd *reader) expectMore(answers uint64) {
	rd.poll.due = rd.alone && rd.c.snd.answers.Load() != answers
}

// at tells what to do in the wait after the call with that number, and where to note how
// long it took; nil: that does not matter.
func (p *poll) at(seq uint64) (look bool, trial *mean) {
	switch at := seq % pollCycle; {
	case seq < p.until:
		return false, nil
	case at < pollLook || at >= pollDecide:
		p.decide()
		return p.looks, nil
	case seq/pollCycle%(1<<p.same) != 0:
		return p.looks, nil
	case at < pollSleep:
		return true, &p.tried[0]
	default:
		return false, &p.tried[1]
	}
}

// lose ends all looking until a call: others want the processors. Then a trial has to show that it is worth it.
func (p *poll) lose(until uint64) { *p = poll{until: until} }

// decide ends a trial, if there was one: to look has to be better by a twentieth.
func (p *poll) decide() {
	look, sleep := &p.tried[0], &p.tried[1]
	if look.n >= pollTrial/2 && sleep.n >= pollTrial/2 {
		p.tell(look.sum/time.Duration(look.n) < sleep.sum/time.Duration(sleep.n)*19/20)
	}
	*look, *sleep = mean{}, mean{}
}

// tell says how a trial has ended. Who looks must have lost two in a row: processors may be
// elsewhere for a moment.
func (p *poll) tell(better bool) {
	most := pollSkip
	if p.looks {
		most = pollAgain
	}
	switch {
	case better == p.looks:
		p.same, p.doubt = min(p.same+1, most), false
	case p.looks && !p.doubt:
		p.same, p.doubt = 0, true
	default:
		p.looks, p.same, p.doubt = better, 0, false
	}
}
