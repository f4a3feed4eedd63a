package workers_test

import (
	"sync"
	"testing"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/workers"
)

// TestAnswersThatComeTogetherGoOnTogether: what a worker has answered in one write goes to the client
// in one, too.
func TestAnswersThatComeTogetherGoOnTogether(t *testing.T) {
	const calls = 10
	var held []uint64
	r := newRig(t, setting{workers: workers.Options{Concurrency: calls}, starter: &liars{say: func(p conn.Peer, seq uint64) {
		if held = append(held, seq); len(held) < calls {
			return
		}
		for _, seq := range held {
			say(p, frame.TypeReply, seq, []byte("x"))
		}
		held = nil
	}}})
	const rounds = 20
	before := r.door.Counts()
	for range rounds {
		var all sync.WaitGroup
		for range calls {
			all.Go(func() {
				if u := r.call("m", "x"); u.Outcome.Code != session.OK {
					t.Errorf("%+v: %s", u.Outcome, u.Text)
				}
			})
		}
		all.Wait()
	}
	now := r.door.Counts()
	// A write of a round's ten may be two: the worker's answers need not be read in one.
	if messages, writes := now.Messages-before.Messages, now.Batches-before.Batches; messages < rounds*calls || writes > rounds*calls/3 {
		t.Errorf("%d answers went to the client in %d writes", messages, writes)
	}
}
