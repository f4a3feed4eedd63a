package client

import (
	"context"
	"errors"
	"io"
	"testing"

	"rpcpool.dev/rpc/session"
)

// TestWhoseTimeIsOverIsToldSo, also if the call that it was to send for has ended with it.
func TestWhoseTimeIsOverIsToldSo(t *testing.T) {
	s := &Stream{over: make(chan struct{}), ready: make(chan struct{})}
	s.end(&Call{Outcome: session.Outcome{Code: session.Canceled}})
	if err := s.Send(t.Context(), []byte("x")); !errors.Is(err, io.EOF) {
		t.Errorf("who has time is told %v, not that the call has ended", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	mine := errors.New("mine")
	cancel(mine)
	if err := s.Send(ctx, []byte("x")); !errors.Is(err, mine) {
		t.Errorf("who has none is told %v", err)
	}
}
