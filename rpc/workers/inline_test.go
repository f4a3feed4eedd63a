package workers_test

import (
	"context"
	"testing"
	"time"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/workers"
)

// TestAMethodThatAReaderMayRunIsAnsweredByAWorkerAtOnce: its answer comes by another reader than the
// one that would have run it, and does not wait for that one's next round.
func TestAMethodThatAReaderMayRunIsAnsweredByAWorkerAtOnce(t *testing.T) {
	r := newRig(t, setting{
		methods: []server.Method{{Name: "m", Inline: true}},
		workers: workers.Options{Concurrency: 16},
		starter: &liars{say: func(p conn.Peer, seq uint64) { say(p, frame.TypeReply, seq, []byte("x")) }},
	})
	quiet := conn.Options{Keepalive: conn.Keepalive{Silence: time.Hour}} // a ping would begin a round
	c := r.another(client.Options{Pool: conn.PoolOptions{Conn: quiet}})
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		u := client.Call{Method: "m", Args: []byte("x")}
		if c.Do(ctx, &u); u.Outcome.Code != session.OK || ctx.Err() != nil {
			t.Fatalf("%+v: %s; it waited for what came next: %v", u.Outcome, u.Text, ctx.Err())
		}
		cancel()
	}
}
