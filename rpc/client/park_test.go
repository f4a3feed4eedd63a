package client

import (
	"context"
	"testing"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

func TestACallThatWaitsGetsTheServerThatComes(t *testing.T) {
	r := newRig(t, server.Options{})
	c := r.client(Options{})
	if err := c.Update([]conn.Endpoint{{ID: "dead", Unix: r.path + "-nobody"}}); err != nil {
		t.Fatal(err)
	}
	u := Call{Method: "echo", Args: []byte("x"), Wait: true}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Do(soon(t), &u)
	}()
	gone := Call{Method: "echo", Wait: true}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	c.Do(ctx, &gone)
	if gone.Outcome.Code != session.DeadlineExceeded || gone.Outcome.Execution != session.NotExecuted {
		t.Errorf("one that does not wait for so long: %+v", gone.Outcome)
	}
	if err := c.Update([]conn.Endpoint{{ID: "dead", Unix: r.path + "-nobody"}, {ID: "a", Unix: r.path}}); err != nil {
		t.Fatal(err)
	}
	<-done
	if u.Outcome.Code != session.OK || string(u.Reply) != "x" {
		t.Errorf("%+v %s", u.Outcome, u.Text)
	}
}
