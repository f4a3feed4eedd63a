package client

import (
	"testing"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// TestAServerThatRefusesIsAskedSeldom: while one drains, for as long as that takes, calls go to another, also if
// that is farther away. Else each would cost a token of the budget, and then they would fail.
func TestAServerThatRefusesIsAskedSeldom(t *testing.T) {
	drains, other := newHost(t, "drains", hostOptions{}), newHost(t, "other", hostOptions{})
	near := newRig(t, server.Options{}, server.Method{Name: "do", Run: echo})
	if err := near.core.Drain(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := drains.core.Drain(soon(t)); err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]conn.Endpoint{"as near": drains.endpoint(), "nearer": {ID: "near", Unix: near.path}} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, quick(), e, other.endpoint())
			refused := 0
			for range 500 {
				u := ask(soon(t), c, "do", "x")
				u.is(t, session.OK, session.Executed)
				refused += u.Attempts - 1
			}
			if refused == 0 || refused > 10 {
				t.Errorf("%d of 500 calls were refused", refused)
			}
		})
	}
}

// TestWhatWaitsAtAServerThatDrainsIsDoneByAnother, however much it is: one of them costs a token, which says that the server
// drains, and not that all have too much to do.
func TestWhatWaitsAtAServerThatDrainsIsDoneByAnother(t *testing.T) {
	g := newGate()
	a := newHost(t, "a", hostOptions{core: server.Options{Limit: 1}, methods: []server.Method{{Name: "wait", Run: g.run}}})
	b := newHost(t, "b", hostOptions{})
	c := newClient(t, quick(), a.endpoint())
	runs := make(chan *Call, 1)
	go func() { runs <- ask(soon(t), c, "wait", "it runs") }()
	<-g.entered
	const calls = 100
	ended := make(chan *Call, calls)
	for range calls {
		c.Start(soon(t), &Call{Method: "do"}, func(u *Call) { ended <- u })
	}
	eventually(t, "they wait", func() bool { return a.core.Counts().Waiting == calls })
	if err := c.Update([]conn.Endpoint{a.endpoint(), b.endpoint()}); err != nil {
		t.Fatal(err)
	}
	drained := make(chan error, 1)
	go func() { drained <- a.core.Drain(soon(t)) }()
	for range calls {
		u := <-ended
		if u.is(t, session.OK, session.Executed); u.At != "b" {
			t.Errorf("it was done by %s", u.At)
		}
	}
	close(g.open)
	(<-runs).is(t, session.OK, session.Executed)
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// TestAServerIsShunnedForLongerEachTimeThatItRefuses, and not at all any more when it has taken a call.
func TestAServerIsShunnedForLongerEachTimeThatItRefuses(t *testing.T) {
	refused, failed := session.Outcome{Code: session.Refused, Execution: session.NotExecuted}, session.Outcome{Code: session.Failed, Execution: session.Executed}
	var p peer
	now := time.Hour
	for _, step := range []struct {
		name  string
		after time.Duration
		how   session.Outcome
		want  time.Duration // until when, from then on
	}{
		{"once", 0, refused, shunFirst},
		{"what was sent before", shunFirst / 2, refused, shunFirst / 2},
		{"again", shunFirst / 2, refused, 2 * shunFirst},
		{"and again", 2 * shunFirst, refused, 4 * shunFirst},
		{"much later", time.Hour, refused, 8 * shunFirst},
		{"it has taken one, and failed", shunFirst, failed, 0},
		{"it refuses anew", 0, refused, shunFirst},
	} {
		now += step.after
		if p.ended(now, &step.how); max(p.shun-now, 0) != step.want {
			t.Errorf("%s: for %v, want %v", step.name, p.shun-now, step.want)
		}
	}
	for range 100 {
		now = p.shun
		p.ended(now, &refused)
	}
	if p.shun-now != shunMost {
		t.Errorf("for %v at the most, want %v", p.shun-now, shunMost)
	}
}
