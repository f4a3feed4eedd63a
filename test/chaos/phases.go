//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// all starts the fleet, warms it up, takes a census, kills while clients work,
// and takes another.
func (c *chaos) all(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	if err := c.fleet.start(ctx, c.servers, c.isolation); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.fleet.stop()) }()
	beside.Go(func() { c.fleet.reap(ctx) })
	beside.Go(func() { c.progress(ctx) })
	if c.before = c.quiesce(ctx, comeUpTime, nil); len(c.before.problems) > 0 {
		return fmt.Errorf("the fleet does not come up: %s", c.before.problems[0].what)
	}
	c.make = newGenerator(c.seed, c.memoryLimit())
	c.work(ctx, min(warmUp, c.sessions/4))
	if c.before = c.quiesce(ctx, comeUpTime, nil); len(c.before.problems) > 0 {
		c.note(c.before, "before any kill: ")
	}
	began, before := time.Now(), c.book.ended.Load()
	c.chaos(ctx)
	c.rate = float64(c.book.ended.Load()-before) / time.Since(began).Seconds()
	c.say("all sessions have ended; waiting for quiet")
	c.after = c.quiesce(ctx, quiesceTime, &c.before)
	c.note(c.after, "")
	c.serveAll(ctx)
	return c.interrupted(ctx)
}

func (c *chaos) interrupted(ctx context.Context) error {
	switch {
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return fmt.Errorf("not done within -limit %s", c.limit)
	case ctx.Err() != nil:
		return errors.New("interrupted")
	default:
		return nil
	}
}

// memoryLimit is what workers may have, if that is enforced.
func (c *chaos) memoryLimit() int {
	if !c.fleet.limits || c.fleet.noted("limit is not enforced here") > 0 {
		return 0
	}
	return limitMemory
}

// work makes n sessions.
func (c *chaos) work(ctx context.Context, n int) {
	last := c.number.Load() + int64(n)
	var guests sync.WaitGroup
	for range c.clients {
		guests.Go(func() {
			g := &guest{fleet: c.fleet, bounds: c.bounds}
			defer g.close()
			for ctx.Err() == nil {
				i := c.number.Add(1)
				if i > last {
					break
				}
				c.book.visit(g.make(ctx, c.make.program(int(i))))
			}
		})
	}
	guests.Wait()
	c.number.Store(last)
}

// progress prints a line now and then, and has sessions judged.
func (c *chaos) progress(ctx context.Context) {
	last := time.Now()
	var before int64
	for {
		pause(ctx, progressEvery)
		if ctx.Err() != nil {
			return
		}
		c.book.judge()
		now, ended := time.Now(), c.book.ended.Load()
		c.say("%d sessions, %.0f/s, %d kills, %d violations",
			ended, float64(ended-before)/now.Sub(last).Seconds(), c.book.killed(), c.book.broken())
		last, before = now, ended
	}
}
