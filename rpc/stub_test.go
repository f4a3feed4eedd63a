package rpc

import (
	"errors"
	"io"
	"testing"

	"rpcpool.dev/rpc/client"
)

func TestS2_1_AMethodIsDeclaredOnce(t *testing.T) {
	library := Method[*Args, string]("Snprintf", Idempotent).With(MethodOptions{Concurrency: 3})
	sums := StreamMethod[int, int, int]("Sum")
	both(t, ServerOptions{}, func(s *Server) {
		library.Handle(s, snprintf)
		sums.Handle(s, sum)
		if got := s.list[0]; got.Name != library.Name() || got.Concurrency != 3 {
			t.Errorf("registered as %+v", got)
		}
		again := Method[*Args, string]("Again").With(MethodOptions{Concurrency: 3})
		if again.Handle(s, snprintf, MethodOptions{}); s.list[2].Concurrency != 0 {
			t.Error("what Handle is told does not count")
		}
	}, func(t *testing.T, c Caller) {
		ctx, args, want := soon(t), &Args{64, "The answer is %d", []any{42}}, "The answer is 42"
		if got, err := library.Call(ctx, c, args, Interactive); got != want || err != nil {
			t.Errorf("call: %q, %v", got, err)
		}
		snprintf := library.Bind(c)
		if got, err := snprintf(ctx, args); got != want || err != nil {
			t.Errorf("as a function: %q, %v", got, err)
		}
		if got, err := library.Spawn(ctx, c, args).Get(ctx); got != want || err != nil {
			t.Errorf("spawned: %q, %v", got, err)
		}
		g := NewGroup(ctx, GroupOptions{})
		f := library.SpawnIn(g, c, args)
		if err := g.Sync(); err != nil {
			t.Error(err)
		}
		if got, err := f.Get(ctx); got != want || err != nil {
			t.Errorf("in a group: %q, %v", got, err)
		}
		s, err := sums.Open(ctx, c, 40)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Send(ctx, 2), s.CloseSend(ctx)); err != nil {
			t.Error(err)
		}
		if got, err := s.Recv(ctx); got != 42 || err != nil {
			t.Errorf("stream: %d, %v", got, err)
		}
		if _, err := s.Recv(ctx); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
}

// The options of one call come after the method's, and do not become others'.
func TestOptionsOfAMethodAreNotThoseOfItsCalls(t *testing.T) {
	m := Method[int, int]("M", append(make([]CallOption, 0, 8), Idempotent, Lane(1))...)
	apply := func(opts []CallOption) (u client.Call) {
		for _, o := range opts {
			o(&u)
		}
		return u
	}
	two, three := m.all([]CallOption{Lane(2)}), m.all([]CallOption{Lane(3)})
	if a, b, c := apply(two), apply(three), apply(m.all(nil)); a.Lane != 2 || b.Lane != 3 || c.Lane != 1 || !a.Idempotent {
		t.Errorf("lanes %d, %d and %d", a.Lane, b.Lane, c.Lane)
	}
}
