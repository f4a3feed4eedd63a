package conn

import (
	"testing"

	"rpcpool.dev/rpc/frame"
)

// TestS1_25_MessagesThatShareAWriteAreCounted also when their connection has gone: a counter
// that went back would be a restart to whoever reads it.
func TestS1_25_MessagesThatShareAWriteAreCounted(t *testing.T) {
	const calls = 64
	server := startServer(t, &echo{}, nil)
	done := make(chan []byte, calls)
	c := newPoolCaller()
	for seq := range uint64(calls) {
		c.waiting[seq+1] = done
	}
	p := newPool(t, c, nil)
	s := newService(t, p, server.endpoint("a"))
	r, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	conn, _ := r.Peer.(*Conn)
	before := p.Counts()
	for seq := range uint64(calls) {
		if err := conn.Queue(testCall(seq+1, frame.PriorityNormal, 64)); err != nil {
			t.Fatal(err)
		}
	}
	conn.Flush()
	for range calls {
		<-done
	}
	n := p.Counts()
	if messages, batches := n.Messages-before.Messages, n.Batches-before.Batches; messages != calls || batches != 1 {
		t.Errorf("%d messages in %d batches", messages, batches)
	}
	if n := server.Counts(); n.Messages < calls || n.Batches == 0 || n.Batches > n.Messages {
		t.Errorf("the server: %d messages in %d batches", n.Messages, n.Batches)
	}
	_ = conn.Close()
	<-conn.Done()
	if after := p.Counts(); after.Messages < n.Messages || after.Batches < n.Batches {
		t.Errorf("it has gone: %+v after %+v", after, n)
	}
}
