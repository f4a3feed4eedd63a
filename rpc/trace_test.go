package rpc

import (
	"context"
	"testing"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// handleTraces registers what tells which trace it belongs to, and its identity.
func handleTraces(s *Server) {
	Handle(s, "Traced", func(ctx context.Context, _ int) ([]string, error) {
		return []string{TraceFrom(ctx), XIDFrom(ctx).String()}, nil
	})
	HandleStream(s, "TracedStream", func(ctx context.Context, _ int, st *ServerStream[int, string]) error {
		return st.Send(TraceFrom(ctx))
	})
}

// TestC24_ATraceGoesFromTheCallerToTheWorker: over a socket, through the server, into the
// process that runs the handler; by calls, spawned calls and streams.
func TestC24_ATraceGoesFromTheCallerToTheWorker(t *testing.T) {
	s, err := isolated()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(ClientOptions{}, "unix:"+served(t, s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	ctx := WithTrace(soon(t), parent)
	got, err := Call[[]string](ctx, c, "Traced", 1)
	if err != nil || got[0] != parent || got[1] == (XID{}).String() {
		t.Errorf("a call: %q, %v", got, err)
	}
	if got, err = Spawn[[]string](ctx, c, "Traced", 1, Idempotent).Get(ctx); err != nil || got[0] != parent {
		t.Errorf("a call that is spawned: %q, %v", got, err)
	}
	if got, err = Call[[]string](soon(t), c, "Traced", 1); err != nil || got[0] != "" {
		t.Errorf("a call that nobody traces: %q, %v", got, err)
	}
	st, err := OpenStream[int, string](ctx, c, "TracedStream", 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := st.Recv(ctx); err != nil || got != parent {
		t.Errorf("a stream: %q, %v", got, err)
	}
	_ = st.Close()
}

// TestATraceGoesOnFromAHandler: what a handler calls with its context belongs to the same trace.
func TestATraceGoesOnFromAHandler(t *testing.T) {
	_, far := serving(t, ServerOptions{}, ClientOptions{}, handleTraces)
	both(t, ServerOptions{}, func(s *Server) {
		Handle(s, "Relay", func(ctx context.Context, n int) ([]string, error) { return Call[[]string](ctx, far, "Traced", n) })
	}, func(t *testing.T, c Caller) {
		if got, err := Call[[]string](WithTrace(soon(t), parent), c, "Relay", 1); err != nil || got[0] != parent {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestWhatIsNoTraceIsPassedOver(t *testing.T) {
	for _, bad := range []string{"", "00", "ff" + parent[2:], parent[:len(parent)-1] + "x", "00-0af7-b7ad6b7169203331-01", parent[1:]} {
		if got := TraceFrom(WithTrace(t.Context(), bad)); got != "" {
			t.Errorf("%q became %q", bad, got)
		}
	}
	if got := TraceFrom(WithTrace(t.Context(), parent)); got != parent {
		t.Errorf("%q became %q", parent, got)
	}
	if id := XIDFrom(t.Context()); id != (XID{}) {
		t.Errorf("outside of a handler there is the identity %v", id)
	}
}
