package rpc

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

// steps are handlers each of which appends its name to what it is given.
func steps(s *Server) {
	for _, name := range []string{"Upload", "Load", "Run", "Fetch"} {
		Handle(s, name, func(_ context.Context, a string) (string, error) {
			if strings.HasSuffix(a, "!"+name) {
				return "", Fail("broken", nil, "%s does not like %s", name, a)
			}
			if strings.HasSuffix(a, "?"+name) {
				os.Exit(7)
			}
			return a + " " + name, nil
		})
	}
	Handle(s, "Length", func(_ context.Context, b []byte) (int, error) { return len(b), nil })
	Handle(s, "Bytes", func(_ context.Context, n int) ([]byte, error) { return make([]byte, n), nil })
}

// serve makes a server with those handlers, and returns its socket.
func serve(t testing.TB, opts ServerOptions) (*Server, string) {
	t.Helper()
	s, err := NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	steps(s)
	return s, served(t, s)
}

func dial(t testing.TB, opts ClientOptions, addresses ...string) *Client {
	t.Helper()
	c, err := Dial(opts, addresses...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// row spawns four calls of which each needs the result of the one before it.
func row(ctx context.Context, c Caller, start string) (all []*Future[string]) {
	f := Spawn[string](ctx, c, "Upload", start)
	all = append(all, f)
	for _, name := range []string{"Load", "Run", "Fetch"} {
		f = Spawn[string](ctx, c, name, f.Result())
		all = append(all, f)
	}
	return all
}

func TestC20_AChainOfFourCallsTakesOneRoundTrip(t *testing.T) {
	_, where := serve(t, ServerOptions{})
	net, address := through(t, where, 30*time.Millisecond)
	c := dial(t, ClientOptions{}, address)
	ctx := soon(t)
	if _, err := Call[string](ctx, c, "Load", "connected"); err != nil {
		t.Fatal(err)
	}
	net.since()
	all := row(ctx, c, "x")
	if got, err := all[3].Get(ctx); err != nil || got != "x Upload Load Run Fetch" {
		t.Fatalf("%q, %v", got, err)
	}
	if frames, _, rounds := net.since(); frames[frame.TypeCall] != 4 || rounds != 1 {
		t.Errorf("a chain takes %d round trips, with %d calls", rounds, frames[frame.TypeCall])
	}
	a := "x"
	for _, name := range []string{"Upload", "Load", "Run", "Fetch"} {
		var err error
		if a, err = Call[string](ctx, c, name, a); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, rounds := net.since(); rounds != 4 {
		t.Errorf("one after the other they take %d", rounds)
	}
}

func TestC20_ABatchIsOneWriteAndOneAck(t *testing.T) {
	_, where := serve(t, ServerOptions{})
	net, address := through(t, where, 10*time.Millisecond)
	c := dial(t, ClientOptions{}, address)
	ctx := soon(t)
	for _, name := range []string{"Upload", "Load", "Run", "Fetch"} { // they are bound now
		if _, err := Call[string](ctx, c, name, "connected"); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(250 * time.Millisecond) // what was before is acknowledged
	net.since()
	b := NewBatch(c)
	all := row(ctx, b, "x")
	other := Spawn[string](ctx, b, "Run", "y")
	if frames, _, _ := net.since(); len(frames) != 0 {
		t.Errorf("before it is sent, %v have gone", frames)
	}
	b.Send()
	if got, err := all[3].Get(ctx); err != nil || got != "x Upload Load Run Fetch" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := other.Get(ctx); err != nil || got != "y Run" {
		t.Errorf("%q, %v", got, err)
	}
	frames, writes, _ := net.since()
	if frames[frame.TypeCall] != 5 || writes != 1 {
		t.Errorf("%d calls went in %d pieces", frames[frame.TypeCall], writes)
	}
	time.Sleep(250 * time.Millisecond) // the ack is due
	after, _, _ := net.since()
	if n := frames[frame.TypeAck] + frames[frame.TypeFence] + after[frame.TypeAck] + after[frame.TypeFence]; n != 1 {
		t.Errorf("%d acks close them: %v, %v", n, frames, after)
	}
}

func TestC20_WhatNeedsAFailedCallDoesNotRunAndSaysWhy(t *testing.T) {
	names := []string{"Upload", "Load", "Run", "Fetch"}
	both(t, ServerOptions{}, steps, func(t *testing.T, c Caller) {
		for broken, name := range names {
			ctx := soon(t)
			f := Spawn[string](ctx, c, name, "x!"+name)
			all := []*Future[string]{f}
			for _, next := range names[broken+1:] {
				f = Spawn[string](ctx, c, next, f.Result())
				all = append(all, f)
			}
			_, first := all[0].Get(ctx)
			if !errors.Is(first, Failed) {
				t.Fatalf("%s: %v", name, first)
			}
			for _, f := range all[1:] {
				_, err := f.Get(ctx)
				if !errors.Is(err, Unmet) || !errors.Is(err, NotExecuted) || !errors.Is(err, Reason("broken")) || !errors.Is(err, first) {
					t.Errorf("behind %s: %v", name, err)
				}
			}
		}
	})
}

func TestResultsOfOtherCodecsAreArgumentsToo(t *testing.T) {
	both(t, ServerOptions{}, steps, func(t *testing.T, c Caller) {
		ctx := soon(t)
		b := Spawn[[]byte](ctx, c, "Bytes", 200_000)
		n := Spawn[int](ctx, c, "Length", b.Result())
		m := Spawn[[]byte](ctx, c, "Bytes", n.Result())
		got, err := Call[int](ctx, c, "Length", m.Result())
		if err != nil || got != 200_000 {
			t.Errorf("%d, %v", got, err)
		}
		length := Method[[]byte, int]("Length")
		if got, err := length.Then(ctx, c, m.Result()).Get(ctx); err != nil || got != 200_000 {
			t.Errorf("of a call that has ended: %d, %v", got, err)
		}
	})
}

func TestC20_AcrossServersResultsAreWaitedFor(t *testing.T) {
	_, one := serve(t, ServerOptions{})
	_, other := serve(t, ServerOptions{})
	c := dial(t, ClientOptions{}, "unix:"+one, "unix:"+other)
	ctx := soon(t)
	f := Spawn[string](ctx, c, "Upload", "x", At("unix:"+one))
	g := Spawn[string](ctx, c, "Load", f.Result(), At("unix:"+other))
	h := Spawn[string](ctx, c, "Run", g.Result(), At("unix:"+one))
	if got, err := h.Get(ctx); err != nil || got != "x Upload Load Run" {
		t.Errorf("%q, %v", got, err)
	}
	d := dial(t, ClientOptions{}, "unix:"+other)
	if got, err := Call[string](ctx, d, "Fetch", h.Result()); err != nil || got != "x Upload Load Run Fetch" {
		t.Errorf("of another client: %q, %v", got, err)
	}
}

func TestC20_AChainSurvivesTheLossOfItsConnection(t *testing.T) {
	s, err := NewServer(ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var runs [4]atomic.Int32
	start, started := make(chan struct{}), make(chan struct{}, 1)
	for i, name := range []string{"Upload", "Load", "Run", "Fetch"} {
		Handle(s, name, func(_ context.Context, a string) (string, error) {
			if runs[i].Add(1); i == 1 {
				started <- struct{}{}
				<-start
			}
			return a + " " + name, nil
		})
	}
	where := served(t, s)
	net, address := through(t, where, time.Millisecond)
	c := dial(t, ClientOptions{}, address)
	ctx := soon(t)
	all := row(ctx, c, "x")
	<-started
	net.cut()
	close(start)
	if got, err := all[3].Get(ctx); err != nil || got != "x Upload Load Run Fetch" {
		t.Errorf("%q, %v", got, err)
	}
	for i := range runs {
		if n := runs[i].Load(); n != 1 {
			t.Errorf("call %d ran %d times", i, n)
		}
	}
}

// A server of before this feature is not asked for it.
func TestAServerThatKnowsNoReferencesGetsWholeArguments(t *testing.T) {
	s, _ := serve(t, ServerOptions{})
	old, err := conn.NewServer(conn.ServerOptions{Handler: s.door, Admit: func(h *frame.Hello) frame.HelloAck {
		h.Features &^= frame.FeaturePipelining
		return s.admit(h)
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Listen(t.Context(), "unix:"+t.TempDir()+"/old")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- old.Serve(l) }()
	t.Cleanup(func() {
		_ = old.Close()
		<-served
	})
	c := dial(t, ClientOptions{}, "unix:"+l.Addr().String())
	ctx := soon(t)
	if got, err := row(ctx, c, "x")[3].Get(ctx); err != nil || got != "x Upload Load Run Fetch" {
		t.Errorf("%q, %v", got, err)
	}
}
