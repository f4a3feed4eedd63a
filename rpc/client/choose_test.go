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
