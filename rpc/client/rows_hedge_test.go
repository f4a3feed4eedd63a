package client

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// hedged makes a call that may be made at another server, too.
func hedged(ctx context.Context, c *Client, method, args string) *Call {
	done := make(chan *Call, 1)
	c.Hedge(ctx, &Call{Method: method, Args: []byte(args), Idempotent: true}, func(u *Call) { done <- u })
	return <-done
}

// readers are servers whose method "read" waits for a gate.
func readers(t *testing.T, ids ...string) (gates []*gate, list []conn.Endpoint) {
	for _, id := range ids {
		g := newGate()
		h := newHost(t, id, hostOptions{methods: []server.Method{{Name: "read", Run: g.run}}})
		gates, list = append(gates, g), append(list, h.endpoint())
	}
	return gates, list
}

func TestC10_WhatIsLateIsReadElsewhere(t *testing.T) {
	gates, list := readers(t, "slow", "quick")
	slow, quickly := gates[0], gates[1]
	close(quickly.open)
	c := newClient(t, quick(), list[1])
	for range enough {
		hedged(soon(t), c, "read", "x").is(t, session.OK, session.Executed)
	}
	if err := c.Update(list); err != nil {
		t.Fatal(err)
	}
	for i := range 8 { // some of them at the slow one first
		u := hedged(soon(t), c, "read", fmt.Sprint(i))
		u.is(t, session.OK, session.Executed)
		if want := fmt.Sprintf("did %d", i); string(u.Reply) != want {
			t.Errorf("%q, want %q", u.Reply, want)
		}
		for range 20 { // calls that pay for it
			ask(soon(t), c, "who", "")
		}
	}
	n, entered := c.Counts(), uint64(len(slow.entered))
	if entered == 0 || n.HedgesWon == 0 || n.HedgesWon > n.Hedged {
		t.Errorf("%d calls came to the slow server, %+v", entered, n.HedgeCounts)
	}
	eventually(t, "those that have lost are cancelled", func() bool { return c.Counts().Open == 0 })
}

func TestC10_WhereAllAreSlowFewAreHedged(t *testing.T) {
	gates, list := readers(t, "a", "b")
	c := newClient(t, quick(), list...)
	c.mu.Lock()
	for range enough {
		c.delaysOf("read").add(time.Millisecond)
	}
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(soon(t))
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { hedged(ctx, c, "read", fmt.Sprint(i)) })
	}
	eventually(t, "all have come", func() bool { return len(gates[0].entered)+len(gates[1].entered) >= 100 })
	eventually(t, "all were late", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.budget.tenths == 0
	})
	if n := c.Counts().Hedged; n == 0 || n > 5 {
		t.Errorf("%d calls were made twice", n)
	}
	cancel()
	wg.Wait()
}

func TestC10_AHedgeThatFailsDoesNotCount(t *testing.T) {
	gates, list := readers(t, "a")
	gone := newHost(t, "gone", hostOptions{})
	gone.stop()
	c := newClient(t, quick(), list...)
	c.mu.Lock()
	for range enough {
		c.delaysOf("read").add(100 * time.Millisecond)
	}
	c.mu.Unlock()
	done := make(chan *Call, 1)
	go func() { done <- hedged(soon(t), c, "read", "x") }()
	<-gates[0].entered
	if err := c.Update(append(list, gone.endpoint())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it was hedged", func() bool { return c.Counts().Hedged == 1 })
	close(gates[0].open)
	(<-done).is(t, session.OK, session.Executed)
	if n := c.Counts(); n.HedgesWon != 0 {
		t.Errorf("%+v", n.HedgeCounts)
	}
	if err := c.Update([]conn.Endpoint{gone.endpoint()}); err != nil {
		t.Fatal(err)
	}
	hedged(soon(t), c, "read", "y").is(t, session.NoServer, session.NotExecuted)
}

func TestC10_NothingIsLateBeforeEnoughIsKnown(t *testing.T) {
	var d delays
	for i := range enough {
		if _, ok := d.late(); ok {
			t.Errorf("after %d calls", i)
		}
		d.add(time.Duration(i+1) * time.Millisecond)
	}
	if after, ok := d.late(); !ok || after != 20*time.Millisecond {
		t.Errorf("%v, %v", after, ok)
	}
	for range 1000 {
		d.add(time.Second)
	}
	if after, _ := d.late(); after != time.Second {
		t.Errorf("it remembers %v", after)
	}
}

func TestC10_WhereAllRefuseFewAreTriedTwice(t *testing.T) {
	a, b := newHost(t, "a", hostOptions{}), newHost(t, "b", hostOptions{})
	for _, h := range []*host{a, b} {
		if err := h.core.Drain(soon(t)); err != nil {
			t.Fatal(err)
		}
	}
	c := newClient(t, quick(), a.endpoint(), b.endpoint())
	twice := 0
	for range 20 {
		u := ask(soon(t), c, "do", "x")
		u.is(t, session.Refused, session.NotExecuted)
		if u.Attempts == 2 {
			twice++
		}
	}
	if n := c.Counts(); twice == 0 || twice > 5 || n.Exhausted < 15 {
		t.Errorf("%d calls were tried twice, %d were not as too many are refused", twice, n.Exhausted)
	}
}

// Both attempts fail. What is told is how the last one did, but not that nothing ran.
func TestC10_AHedgeThatMayHaveRunIsNotForgotten(t *testing.T) {
	c := newClient(t, quick())
	failed := func(code session.Code, e session.Execution) *Call {
		return &Call{Outcome: session.Outcome{Code: code, Execution: e}}
	}
	for name, tc := range map[string]struct {
		first, last *Call
		want        session.Execution
	}{
		"the first may have run": {failed(session.Lost, session.Indeterminate), failed(session.NoServer, session.NotExecuted), session.Indeterminate},
		"the first has run":      {failed(session.ReplyLost, session.Executed), failed(session.NoServer, session.NotExecuted), session.Indeterminate},
		"the last has run":       {failed(session.NoServer, session.NotExecuted), failed(session.ReplyLost, session.Executed), session.Executed},
		"none":                   {failed(session.Refused, session.NotExecuted), failed(session.NoServer, session.NotExecuted), session.NotExecuted},
	} {
		t.Run(name, func(t *testing.T) {
			var told []*Call
			r := &race{c: c, user: &Call{}, done: func(u *Call) { told = append(told, u) }, left: 2}
			r.ended(tc.first, false)
			r.ended(tc.last, true)
			if len(told) != 1 {
				t.Fatalf("it ends %d times", len(told))
			}
			told[0].is(t, tc.last.Outcome.Code, tc.want)
		})
	}
}
