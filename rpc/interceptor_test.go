package rpc

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
)

// TestInterceptorsAreAroundStreams: at the server around the whole stream, at the client around its
// start; what they put into the context is there, and a stream outlives the client's.
func TestInterceptorsAreAroundStreams(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, what)
	}
	around := func(who string) Interceptor {
		return func(ctx context.Context, method string, next func(context.Context) error) error {
			if method == "Forbidden" && who == "client" {
				return Fail("forbidden", nil, "not from here")
			}
			ctx, cancel := context.WithCancel(WithTrace(ctx, parent))
			defer cancel()
			err := next(ctx)
			note(who + " " + method)
			return err
		}
	}
	_, c := serving(t, ServerOptions{Interceptors: []Interceptor{around("server")}}, ClientOptions{Interceptors: []Interceptor{around("client")}}, func(s *Server) {
		for _, name := range []string{"Sum", "Forbidden"} {
			HandleStream(s, name, func(ctx context.Context, start int, st *ServerStream[int, string]) error {
				if _, err := st.Recv(); err != nil {
					return err
				}
				return st.Send(TraceFrom(ctx))
			})
		}
	})
	st, err := OpenStream[int, string](soon(t), c, "Sum", 1)
	if err != nil {
		t.Fatal(err)
	}
	note("between") // the client's has returned, and its context has ended
	if err := st.Send(soon(t), 1); err != nil {
		t.Error(err)
	}
	if got, err := st.Recv(soon(t)); got != parent || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := st.Recv(soon(t)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	mu.Lock()
	if want := []string{"client Sum", "between", "server Sum"}; !slices.Equal(seen, want) {
		t.Errorf("%q, want %q", seen, want)
	}
	mu.Unlock()
	if _, err := OpenStream[int, string](soon(t), c, "Forbidden", 1); !errors.Is(err, Reason("forbidden")) {
		t.Errorf("a stream that an interceptor keeps from starting: %v", err)
	}
}

// TestAnInterceptorThatDoesNotStartAStreamIsAnError: it may not leave its caller without one.
func TestAnInterceptorThatDoesNotStartAStreamIsAnError(t *testing.T) {
	_, c := serving(t, ServerOptions{}, ClientOptions{Interceptors: []Interceptor{
		func(context.Context, string, func(context.Context) error) error { return nil },
	}}, func(s *Server) { HandleStream(s, "Sum", sum) })
	if _, err := OpenStream[int, int](soon(t), c, "Sum", 1); !errors.Is(err, Invalid) || !errors.Is(err, NotExecuted) {
		t.Error(err)
	}
}

// TestInterceptorsAreAroundSpawnedCalls: they may wait, and promises are kept as ever.
func TestInterceptorsAreAroundSpawnedCalls(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	_, c := serving(t, ServerOptions{}, ClientOptions{Interceptors: []Interceptor{
		func(ctx context.Context, method string, next func(context.Context) error) error {
			if method == "Run" {
				return Fail("forbidden", nil, "not from here")
			}
			err := next(WithTrace(ctx, parent))
			mu.Lock()
			defer mu.Unlock()
			seen[method]++
			return err
		},
	}}, func(s *Server) { steps(s); handleTraces(s) })
	ctx := soon(t)
	if got, err := Spawn[[]string](ctx, c, "Traced", 1).Get(ctx); err != nil || got[0] != parent {
		t.Errorf("%q, %v", got, err)
	}
	code := Spawn[string](ctx, c, "Upload", "code")
	if got, err := Spawn[string](ctx, c, "Load", code.Result()).Get(ctx); got != "code Upload Load" || err != nil {
		t.Errorf("of a promise: %q, %v", got, err)
	}
	if _, err := Spawn[string](ctx, c, "Run", "x").Get(ctx); !errors.Is(err, Reason("forbidden")) {
		t.Errorf("a call that an interceptor does not let through: %v", err)
	}
	g := NewGroup(ctx, GroupOptions{})
	for range 8 {
		SpawnIn[string](g, c, "Fetch", "x", Idempotent)
	}
	if err := g.Sync(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if seen["Upload"] != 1 || seen["Load"] != 1 || seen["Fetch"] != 8 || seen["Traced"] != 1 {
		t.Errorf("interceptors have seen %v", seen)
	}
}
