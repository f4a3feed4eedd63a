package rpc

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// TestC16_AStreamThatIsIdleEnds at the side that has said so, and the other hears of it; one whose
// items go on in one direction alone is not idle.
func TestC16_AStreamThatIsIdleEnds(t *testing.T) {
	const idle = 300 * time.Millisecond
	ended := make(chan error, 4)
	both(t, ServerOptions{}, func(s *Server) {
		collect := func(ctx context.Context, _ int, st *ServerStream[int, int]) (err error) {
			defer func() { ended <- context.Cause(ctx) }()
			for err == nil {
				_, err = st.Recv()
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		HandleStream(s, "Collect", collect)
		HandleStream(s, "CollectOrEnd", collect, MethodOptions{StreamIdle: idle})
	}, func(t *testing.T, c Caller) {
		open := func(method string, opts ...CallOption) *Stream[int, int] {
			st, err := OpenStream[int, int](soon(t), c, method, 0, opts...)
			if err != nil {
				t.Fatal(err)
			}
			return st
		}
		st := open("CollectOrEnd")
		if _, err := st.Recv(soon(t)); !errors.Is(err, ErrIdle) || !errors.Is(err, Failed) || !errors.Is(err, Executed) {
			t.Errorf("idle for its server: %v", err)
		}
		if err := <-ended; !errors.Is(err, ErrIdle) {
			t.Errorf("its handler's context: %v", err)
		}
		_ = st.Close()

		st = open("Collect", StreamIdle(idle))
		if _, err := st.Recv(soon(t)); !errors.Is(err, ErrIdle) || errors.Is(err, NotExecuted) {
			t.Errorf("idle for its client: %v", err)
		}
		if err := <-ended; err == nil {
			t.Error("its handler has not heard of it")
		}
		_ = st.Close()

		st = open("CollectOrEnd", StreamIdle(idle))
		for start := time.Now(); time.Since(start) < 2*idle; { // without a pause, so that no machine is too slow
			if err := st.Send(soon(t), 1); err != nil {
				t.Fatalf("busy: %v", err)
			}
		}
		if err := st.CloseSend(soon(t)); err != nil {
			t.Error(err)
		}
		if _, err := st.Recv(soon(t)); !errors.Is(err, io.EOF) {
			t.Errorf("busy: %v", err)
		}
		<-ended
		_ = st.Close()
	})
}
