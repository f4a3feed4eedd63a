package client

import (
	"context"
	"fmt"
	"testing"

	"rpcpool.dev/rpc/session"
)

func TestC9_AContextThatHasEndedAlready(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	c := newClient(t, quick(), h.endpoint())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ends := make(chan *Call, 100)
	for i := range 100 {
		u := ask(ctx, c, "do", "never")
		u.is(t, session.Canceled, session.NotExecuted)
		c.Start(ctx, &Call{Method: "do", Args: fmt.Append(nil, i)}, func(u *Call) { ends <- u })
	}
	for range 100 {
		(<-ends).is(t, session.Canceled, session.NotExecuted)
	}
	ask(soon(t), c, "do", "last").is(t, session.OK, session.Executed)
	if len(ends) != 0 || h.count("never") != 0 {
		t.Errorf("%d calls ended twice, %d ran", len(ends), h.count("never"))
	}
}
