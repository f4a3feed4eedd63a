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
// its client's only call. If processors are scarce, the one that looks may be what the other
// side waits for; so both ways are tried in turns, and it looks if messages come sooner then,
// by a tenth at least, until the next trial:
//
//	            64 waits, then 128, … 2048              16 waits
//	sleeps, or looks ─────────────────────▶ the other way ────────▶ which was better?
//	   ▲                                                               │
//	   └───────────────────────────────────────────────────────────────┘
//
// So a reader whose messages take long loses 13 µs a message at first, and soon less than
// half of one. Half of the processors look, at most, and none if there is but one.
const (
	// pollTime is how long a reader looks before it sleeps: what a short call and its
	// answer take, and a sleep and its end cost.
	pollTime = 50 * time.Microsecond
	// pollCap is what a longer wait counts for: what the message was waited for is then not
	// the connection's doing.
	pollCap               = 8 * pollTime
	pollTrial             = 16
	pollStay, pollStayMax = 64, 2048
)

// polls is how many readers of this process look. The processors are the process's, too.
var polls atomic.Int32

// poll is a reader's habit of looking before it sleeps.
type poll struct {
	due   bool          // the next wait is for one message, and there is nothing else to do
	looks bool          // the habit
	trial bool          // the other way is tried
	n     int           // waits of this period
	sum   time.Duration // what they took
	last  time.Duration // mean of the last period of the habit
	stay  int           // waits until the next trial
}

// await reads what there is, waiting for it.
func (rd *reader) await(p []byte) (n int, err error) {
	if !rd.poll.due || rd.try.raw == nil {
		return rd.c.nc.Read(p) //nolint:wrapcheck // the caller does
	}
	rd.poll.due = false
	start := time.Now()
	if rd.poll.looks != rd.poll.trial {
		n, err = rd.look(p, start)
	}
	if n == 0 && err == nil {
		n, err = rd.c.nc.Read(p)
	}
	rd.poll.took(time.Since(start))
	return n, err //nolint:wrapcheck // the caller does
}

// look reads what comes within pollTime.
func (rd *reader) look(p []byte, start time.Time) (n int, err error) {
	defer polls.Add(-1)
	if int(polls.Add(1)) > runtime.GOMAXPROCS(0)/2 {
		return 0, nil
	}
	for n == 0 && err == nil && time.Since(start) < pollTime {
		n, err = rd.try.look(p)
	}
	return n, err
}

// expectMore makes the next wait worth a look, if a client's only call has been answered
// since there were so many answers.
func (rd *reader) expectMore(answers uint64) {
	rd.poll.due = rd.alone && rd.c.snd.answers.Load() != answers
}

// took learns from a wait.
func (p *poll) took(d time.Duration) {
	p.n++
	p.sum += min(d, pollCap)
	switch {
	case !p.trial && p.n >= max(p.stay, pollStay):
		p.last = p.sum / time.Duration(p.n)
		p.trial = true
	case p.trial && p.n >= pollTrial:
		p.decide(p.sum / time.Duration(p.n))
	default:
		return
	}
	p.n, p.sum = 0, 0
}

// decide ends a trial, whose waits were so long.
func (p *poll) decide(trial time.Duration) {
	looking, sleeping := trial, p.last
	if p.looks {
		looking, sleeping = sleeping, looking
	}
	was := p.looks
	p.looks, p.trial = looking < sleeping*9/10, false
	p.stay = min(2*max(p.stay, pollStay), pollStayMax)
	if p.looks != was {
		p.stay = pollStay
	}
}
