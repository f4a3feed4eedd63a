package client

import (
	"context"
	"slices"
	"sync"
	"time"

	"rpcpool.dev/rpc/session"
)

// delays are how long the last calls of a method have taken, to know when one is late.
type delays struct {
	last [128]time.Duration
	n    int // how many there were
}

// enough is how many there have to be.
const enough = 20

func (d *delays) add(took time.Duration) {
	d.last[d.n%len(d.last)] = took
	d.n++
}

// late is what one in twenty calls exceeds; ok is false if that is not known yet.
func (d *delays) late() (after time.Duration, ok bool) {
	if d.n < enough {
		return 0, false
	}
	all := slices.Clone(d.last[:min(d.n, len(d.last))])
	slices.Sort(all)
	return all[len(all)*19/20], true
}

// race is a call that is made at two servers. The first that has an answer wins.
//
//	start ──▶ one runs ── it is late, and others may ──▶ two run
//	             │ answer, or error                         │ answer, or both have failed
//	             └──────────────▶ over ◀────────────────────┘
type race struct {
	c     *Client
	ctx   context.Context //nolint:containedctx // of the call
	user  *Call
	began time.Duration
	done  func(*Call)
	first *call

	mu    sync.Mutex
	timer *time.Timer
	stops []context.CancelFunc
	left  int  // attempts that have not ended
	doubt bool // one that has failed may have run
	over  bool
}

// Hedge is [Client.Start] for calls that change nothing: when one takes longer than nearly all
// before it have, it is made at another server, too, and the one that loses is cancelled. A
// call more takes a token, of which refusals take theirs: where all are slow, none is made.
func (c *Client) Hedge(ctx context.Context, u *Call, done func(*Call)) {
	r := &race{c: c, ctx: ctx, user: u, began: c.now(), done: done}
	c.mu.Lock()
	after, known := c.delaysOf(u.Method).late()
	c.mu.Unlock()
	r.mu.Lock()
	k, attempt := r.attempt()
	r.first = k
	if known {
		r.timer = time.AfterFunc(after, r.late)
	}
	r.mu.Unlock()
	c.launch(attempt, k)
}

func (c *Client) delaysOf(method string) *delays {
	d := c.delays[method]
	if d == nil {
		d = new(delays)
		c.delays[method] = d
	}
	return d
}

// attempt makes one of the calls. It has memory of its own, as the one that loses may be on its
// way when the other is over.
func (r *race) attempt() (*call, context.Context) {
	own := *r.user
	own.Args, own.Reply = slices.Clone(r.user.Args), nil
	ctx, stop := context.WithCancel(r.ctx)
	r.stops = append(r.stops, stop)
	r.left++
	k := r.c.prepare(ctx, &own)
	second := len(r.stops) > 1
	k.async = func(u *Call) { r.ended(u, second) }
	return k, ctx
}

// late makes the second call, if there is a server and a token for it.
func (r *race) late() {
	r.mu.Lock()
	if r.over {
		r.mu.Unlock()
		return
	}
	c := r.c
	c.mu.Lock()
	may := len(c.list) > 1 && len(r.first.tried) > 0 && r.user.Server == "" && !c.closed && c.budget.retry()
	var at *peer
	if may {
		at = r.first.tried[len(r.first.tried)-1]
		c.hedges.Hedged++
	}
	c.mu.Unlock()
	if !may {
		r.mu.Unlock()
		return
	}
	k, attempt := r.attempt()
	k.avoid = at
	k.user.Wait = false
	r.mu.Unlock()
	c.launch(attempt, k)
}

// ended takes the end of an attempt.
func (r *race) ended(u *Call, second bool) {
	answered := u.Outcome.Code == session.OK || u.Outcome.Code == session.Failed
	r.mu.Lock()
	r.left--
	r.doubt = r.doubt || u.Outcome.Execution != session.NotExecuted
	if r.over || !answered && r.left > 0 {
		r.mu.Unlock()
		if u.Outcome.Blobs > 0 {
			go r.c.Discard(u.Reply, u.Outcome.Blobs)
		}
		return
	}
	r.over = true
	if r.timer != nil {
		r.timer.Stop()
	}
	if r.doubt && u.Outcome.Execution == session.NotExecuted {
		u.Outcome.Execution = session.Indeterminate
	}
	stops := r.stops
	r.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	r.c.mu.Lock()
	if u.Outcome.Code == session.OK {
		r.c.delaysOf(u.Method).add(r.c.now() - r.began)
	}
	if second && answered {
		r.c.hedges.HedgesWon++
	}
	r.c.mu.Unlock()
	mine := r.user
	reply := append(mine.Reply[:0], u.Reply...)
	args := mine.Args
	*mine = *u
	mine.Args, mine.Reply = args, reply
	r.done(mine)
}

// HedgeCounts are about calls that were made a second time because they were late.
type HedgeCounts struct {
	Hedged    uint64 // how many there were
	HedgesWon uint64 // of them: the second had the answer
}
