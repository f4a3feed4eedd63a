//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/codec"
	"rpcpool.dev/rpc/session"
)

// caller makes one call after the other, or some together.
type caller struct {
	*demander
	worker int
	rng    *rand.Rand
	n      int // calls that were made
}

// demanded is a call, and what is noted of it.
type demanded struct {
	client.Call
	outcome
	needed []*demanded // whose results it needs
	end    context.CancelFunc
}

// padding is what some arguments have at their end.
var padding = bytes.Repeat([]byte("."), 300<<10) //nolint:gochecknoglobals // constant

// work goes on until its client stops. Every third worker has a lane for its calls.
func (c *caller) work() {
	for !c.stop.Load() {
		kind := c.rng.IntN(12)
		switch {
		case c.worker%3 == 0:
			d := c.next("l", false)
			d.Lane = uint64(c.worker + 1)
			c.wait(d)
		case kind == 0:
			c.oneWay()
		case kind == 1:
			c.hedge()
		case kind == 2:
			c.chain()
		case kind == 3:
			c.group()
		default:
			c.wait(c.next("", c.rng.IntN(3) == 0))
		}
	}
}

// next makes up a call. What is special about it is in its name.
func (c *caller) next(kind string, idempotent bool) *demanded {
	if idempotent {
		kind += "i"
	}
	d := &demanded{outcome: outcome{call: fmt.Sprintf("%s.w%d.%s%d", c.name, c.worker, kind, c.n), idempotent: idempotent}}
	c.n++
	d.Method, d.Idempotent, d.User = []string{"do", "do", "do!"}[c.rng.IntN(3)], idempotent, d
	var work time.Duration
	if d.Method == "do" && c.rng.IntN(4) == 0 {
		work = time.Duration(c.rng.ExpFloat64() * float64(8*time.Millisecond))
	}
	if d.Method == "do" && c.rng.IntN(200) == 0 {
		work = time.Duration(c.rng.IntN(600)) * time.Millisecond
	}
	d.Args = fmt.Appendf(nil, "%s %d %t %t ", d.call, work, c.rng.IntN(2) == 0, c.rng.IntN(50) == 0)
	switch c.rng.IntN(40) {
	case 0:
		d.Args = append(d.Args, padding[:c.rng.IntN(len(padding))]...)
	case 1, 2, 3:
		d.Args = append(d.Args, padding[:c.rng.IntN(12<<10)]...)
	}
	return d
}

// begin is the context of a call that begins now. A deadline is far, near or none; some calls
// are cancelled. Without any, there is still an end.
func (c *caller) begin(ctx context.Context, d *demanded) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	d.asked = now()
	after := 20 * time.Second
	switch n := c.rng.IntN(20); {
	case n == 0 && !d.OneWay: // those are not cancelled
		after = time.Duration(c.rng.IntN(3000)) * time.Microsecond
	case n == 1 && !d.OneWay:
		after = time.Duration(c.rng.IntN(8000)) * time.Millisecond
	default:
		left := time.Duration(1+c.rng.IntN(2000)) * time.Millisecond
		if c.rng.IntN(5) == 0 {
			left = time.Duration(c.rng.IntN(5000)) * time.Microsecond
		}
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, left)
		context.AfterFunc(ctx, end)
		d.until = now() + left // not before the context's
	}
	limit := time.AfterFunc(after, cancel)
	d.end = func() {
		limit.Stop()
		cancel()
	}
	return ctx
}

// ended takes what has come of a call.
func (d *demanded) ended(u *client.Call) {
	d.told = now()
	d.end()
	d.code, d.execution, d.attempts = u.Outcome.Code, u.Outcome.Execution, u.Attempts
	d.whole, d.sum = d.isWhole(u), sumOf(u.Reply)
}

// isWhole tells whether a reply is that of the call.
func (d *demanded) isWhole(u *client.Call) bool {
	rest, mine := bytes.CutPrefix(u.Reply, []byte(d.call+" "))
	return mine && (d.needed != nil || bytes.Equal(rest, u.Args)) || d.OneWay && len(u.Reply) == 0
}

// tell notes what has come of a call.
func (c *demander) tell(d *demanded) {
	note(c.truth, d.String())
	c.made.Add(1)
}

// wait makes a call, and waits for its end.
func (c *caller) wait(d *demanded) {
	c.client.Do(c.begin(context.Background(), d), &d.Call)
	d.ended(&d.Call)
	c.tell(d)
	c.pause(d)
}

// pause lets calls that find no server not be most of all calls.
func (c *caller) pause(d *demanded) {
	if d.code == session.NoServer {
		time.Sleep(pause(c.rng, 0, 20))
	}
}

// oneWay makes a call that nobody waits for.
func (c *caller) oneWay() {
	d := c.next("o", c.rng.IntN(3) == 0)
	d.OneWay = true
	c.flying.Add(1)
	c.client.Do(c.begin(context.Background(), d), &d.Call)
	time.Sleep(pause(c.rng, 0, 5)) // or they would be most of all calls
}

// endedOneWay hears what has come of it.
func (c *demander) endedOneWay(u *client.Call) {
	d, _ := u.User.(*demanded)
	d.ended(u)
	c.tell(d)
	c.flying.Done()
}

// hedge makes a call that may be made at two servers.
func (c *caller) hedge() {
	d := c.next("h", true)
	d.ReadOnly = true
	over := make(chan *client.Call, 1)
	c.client.Hedge(c.begin(context.Background(), d), &d.Call, func(u *client.Call) { over <- u })
	d.ended(<-over)
	c.tell(d)
	c.pause(d)
}

// together starts calls, either one by one or in one go, and waits for all of them. each is
// told of the end of one.
func (c *caller) together(ctx context.Context, all []*demanded, each func(*demanded)) {
	var wg sync.WaitGroup
	var list []client.Prepared
	batch := c.rng.IntN(2) == 0
	for _, d := range all {
		done := func(u *client.Call) {
			d.ended(u)
			each(d)
			wg.Done()
		}
		if !c.promised(d) {
			continue
		}
		wg.Add(1)
		own := c.begin(ctx, d)
		if batch {
			list = append(list, c.client.Prepare(own, &d.Call, done))
		} else {
			c.client.Start(own, &d.Call, done)
		}
	}
	if batch {
		c.client.StartAll(list)
	}
	wg.Wait()
	for _, d := range all {
		if d.end != nil {
			c.tell(d)
		}
	}
	c.pause(all[0])
}

// promised gives a call the promises of the results that it needs. It returns false if one of
// those calls has ended, or was not made.
func (c *caller) promised(d *demanded) bool {
	for _, n := range d.needed {
		p := c.client.Promise(&n.Call)
		if p == nil {
			return false
		}
		d.Needs = append(d.Needs, p)
	}
	return true
}

// chain makes calls that need the results of those before them.
func (c *caller) chain() {
	all := []*demanded{c.next("", c.rng.IntN(3) == 0)}
	for range 1 + c.rng.IntN(3) {
		d := c.next("n", c.rng.IntN(3) == 0)
		head, _ := cbor.Marshal(string(d.Args[:bytes.LastIndexByte(d.Args, ' ')])) // of a text it does not fail
		d.Method, d.Codec, d.Args = "join", codec.IDCBOR, head
		for _, n := range all {
			if last := n == all[len(all)-1]; last || c.rng.IntN(3) == 0 {
				d.needed, d.needs = append(d.needed, n), append(d.needs, n.call)
				d.Args = codec.AppendPlace(d.Args, true)
			}
		}
		all = append(all, d)
	}
	c.together(context.Background(), all, func(*demanded) {})
}

// group makes calls of which the first that fails cancels the others.
func (c *caller) group() {
	g := group{name: fmt.Sprintf("%s.w%d.%d", c.name, c.worker, c.n)}
	var all []*demanded
	for range 2 + c.rng.IntN(5) {
		d := c.next("g", c.rng.IntN(3) == 0)
		d.group = g.name
		all = append(all, d)
	}
	g.calls = len(all)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.together(ctx, all, func(d *demanded) {
		if d.code != session.OK {
			cancel()
		}
	})
	g.over = now()
	note(c.groups, g.String())
}
