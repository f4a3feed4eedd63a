package client

import (
	"bytes"
	"testing"

	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

func TestOverlap(t *testing.T) {
	b := make([]byte, 8)
	for name, c := range map[string]struct {
		a, b []byte
		want bool
	}{
		"the same":        {b, b, true},
		"begins inside":   {b, b[7:], true},
		"ends inside":     {b[4:], b[:5], false}, // the other way round, it begins inside
		"behind":          {b[:4], b[4:], false},
		"nothing":         {b, nil, false},
		"of nothing":      {nil, b, false},
		"another's bytes": {b, make([]byte, 8), false},
	} {
		if got := overlap(c.a, c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestALongReplyUsesMemoryThatIsThere over and over, also that of the arguments.
func TestALongReplyUsesMemoryThatIsThere(t *testing.T) {
	r := newRig(t, server.Options{})
	c := r.client(Options{})
	args, memory := bytes.Repeat([]byte("x"), 300<<10), make([]byte, 0, 300<<10)
	for name, into := range map[string][]byte{"its own": memory, "the arguments'": args[:0]} {
		for n := range 3 {
			u := Call{Method: "echo", Args: args, Reply: into}
			c.Do(soon(t), &u)
			if u.Outcome.Code != session.OK || len(u.Reply) != len(args) || bytes.Count(u.Reply, []byte("x")) != len(args) {
				t.Fatalf("call %d: %+v, %d bytes", n, u.Outcome, len(u.Reply))
			}
			if &u.Reply[0] != &into[:1][0] {
				t.Errorf("call %d: the reply is not in %s memory", n, name)
			}
		}
	}
}
