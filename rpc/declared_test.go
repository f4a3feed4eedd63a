package rpc

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

func refusedAsRepeated(err error) bool {
	return errors.Is(err, Invalid) && errors.Is(err, NotExecuted)
}

// TestS3_11_AMethodIsRepeatedOnlyIfItSaysSo: at a server that demands declarations, whatever the
// caller says, Deduct is not called but at most once.
func TestS3_11_AMethodIsRepeatedOnlyIfItSaysSo(t *testing.T) {
	var runs atomic.Int32
	deduct := func(_ context.Context, cents int) (int, error) { return cents, count(&runs) }
	look := Method[int, int]("Look", ReadOnly)
	both(t, ServerOptions{Declared: true}, func(s *Server) {
		Handle(s, "Deduct", deduct)
		Handle(s, "Ask", deduct, MethodOptions{Idempotent: true})
		look.Handle(s, deduct)
	}, func(t *testing.T, c Caller) {
		runs.Store(0)
		for name, opts := range map[string][]CallOption{
			"idempotent": {Idempotent}, "read only": {ReadOnly}, "hedged": {ReadOnly, Hedge},
			"at least once": {Idempotent, AtLeastOnce(time.Second, 3)},
		} {
			if _, err := Call[int](soon(t), c, "Deduct", 10, opts...); !refusedAsRepeated(err) {
				t.Errorf("%s, and not declared so: %v", name, err)
			}
			if _, err := Call[int](soon(t), c, "Ask", 10, opts...); err != nil {
				t.Errorf("%s, and declared idempotent: %v", name, err)
			}
		}
		if n := runs.Load(); n != 4 {
			t.Errorf("%d runs of what is declared, and of nothing else; want 4", n)
		}
		if got, err := Call[int](soon(t), c, "Deduct", 10); got != 10 || err != nil {
			t.Errorf("at most once: %d, %v", got, err)
		}
		if got, err := look.Call(soon(t), c, 10); got != 10 || err != nil {
			t.Errorf("a stub says it for both sides: %d, %v", got, err)
		}
	})
}

// TestS3_14_AMethodMayForbidIt: without that option the caller is taken at its word, but for
// methods that say that they run once.
func TestS3_14_AMethodMayForbidIt(t *testing.T) {
	var runs atomic.Int32
	h := func(context.Context, int) (int, error) { return 1, count(&runs) }
	both(t, ServerOptions{}, func(s *Server) {
		Handle(s, "Once", h, MethodOptions{Once: true})
		Handle(s, "Any", h)
		Method[int, int]("Stub", Idempotent).Handle(s, h, MethodOptions{Once: true})
	}, func(t *testing.T, c Caller) {
		for _, name := range []string{"Once", "Stub"} {
			if _, err := Call[int](soon(t), c, name, 1, Idempotent); !refusedAsRepeated(err) {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := Call[int](soon(t), c, name, 1); err != nil {
				t.Errorf("%s, at most once: %v", name, err)
			}
		}
		if _, err := Call[int](soon(t), c, "Any", 1, Idempotent); err != nil {
			t.Errorf("of a method that says nothing: %v", err)
		}
	})
}

func count(n *atomic.Int32) error {
	n.Add(1)
	return nil
}

// TestAMethodIsNotBoth: idempotent, or with records, and once.
func TestAMethodIsNotBoth(t *testing.T) {
	var l ledger
	for name, o := range map[string]MethodOptions{"idempotent": {Once: true, Idempotent: true}, "records": {Once: true, Lookup: l.lookup}} {
		s, err := NewServer(ServerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if Handle(s, "Both", func(context.Context, int) (int, error) { return 0, nil }, o); s.Err() == nil {
			t.Errorf("%s: taken", name)
		}
		_ = s.Close()
	}
}

// TestAWorkerKnowsWhatItsMethodsAre: also where its server does not.
func TestAWorkerKnowsWhatItsMethodsAre(t *testing.T) {
	s, err := isolated()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(ClientOptions{}, "unix:"+served(t, s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := Call[int](soon(t), c, "OnceInWorker", 1, Idempotent); !refusedAsRepeated(err) {
		t.Error(err)
	}
	if got, err := Call[int](soon(t), c, "OnceInWorker", 1); got != 1 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
}
