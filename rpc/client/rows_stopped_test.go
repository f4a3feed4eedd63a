package client

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// callTwice is a client that makes one call after the other, and prints how they end.
func callTwice(addr string) error {
	c, err := New(Options{})
	if err != nil {
		return err
	}
	if err := c.Update([]conn.Endpoint{{ID: "a", TCP: addr}}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, u := range []*Call{{Method: "wait", Args: []byte("first")}, {Method: "do", Args: []byte("second"), Wait: true}} {
		c.Do(ctx, u)
		fmt.Println(u.Outcome.Code, u.Outcome.Execution)
	}
	return c.Close()
}

// TestC27_AClientIsStoppedForLongerThanItsLease: what it had outstanding ended meanwhile, with nobody to tell, and does
// not run again; and it goes on as another session.
func TestC27_AClientIsStoppedForLongerThanItsLease(t *testing.T) {
	const lease = 500 * time.Millisecond
	g := newGate()
	h := newHost(t, "a", hostOptions{
		core: server.Options{Domain: session.DomainOptions{Lease: lease}},
		admit: func(hello *frame.Hello) frame.HelloAck {
			return frame.Answer(hello, frame.HelloAck{Codecs: 7, Lease: lease})
		},
		methods: []server.Method{{Name: "wait", Run: g.run}},
	})
	p := runChild(t, "call", h.addr)
	<-g.entered
	p.stop()
	eventually(t, "its lease is over", func() bool { return h.core.Counts().Expired == 1 })
	close(g.open)
	eventually(t, "its call has ended", func() bool { return h.core.Counts().Running == 0 })
	p.goOn()
	if out := p.wait(); out != "Expired Indeterminate\nOK Executed\n" {
		t.Errorf("its calls end with\n%s", out)
	}
	if len(g.entered) != 0 || h.count("second") != 1 {
		t.Errorf("the first ran %d times more, the second %d times", len(g.entered), h.count("second"))
	}
}

// TestC27_AServerIsStoppedForLongerThanTheKeepalive: its connection is found dead; when it goes on, the call that it
// had taken is asked for again, and has run once.
func TestC27_AServerIsStoppedForLongerThanTheKeepalive(t *testing.T) {
	dir := t.TempDir()
	p := runChild(t, "serve", dir, "0", "2")
	defer p.kill()
	var addr []byte
	eventually(t, "it serves", func() bool {
		addr, _ = os.ReadFile(filepath.Join(dir, "addr2"))
		return len(addr) > 0
	})
	o := quick()
	o.Pool.Conn.Keepalive = conn.Keepalive{Silence: 50 * time.Millisecond, Answer: 20 * time.Millisecond}
	c := newClient(t, o, conn.Endpoint{ID: "a", TCP: string(addr)})
	ask(soon(t), c, "do", "before").is(t, session.OK, session.Executed)
	p.stop()
	ended := make(chan *Call, 1)
	c.Start(soon(t), &Call{Method: "do", Args: []byte("meanwhile"), Wait: true}, func(u *Call) { ended <- u })
	eventually(t, "it is found silent", func() bool { return c.Counts().Sockets.Silent > 0 })
	eventually(t, "another connection is tried", func() bool { return c.Counts().Sockets.Dials > 1 })
	if len(ended) != 0 {
		t.Errorf("the call has ended: %v", (<-ended).Outcome)
	}
	p.goOn()
	(<-ended).is(t, session.OK, session.Executed)
	if truth, err := os.ReadFile(filepath.Join(dir, "truth")); err != nil || string(truth) != "before in life 2\nmeanwhile in life 2\n" {
		t.Errorf("what ran is %q, %v", truth, err)
	}
}
