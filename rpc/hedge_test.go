package rpc

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

func TestC10_OnlyWhatChangesNothingIsHedged(t *testing.T) {
	_, c := serving(t, ServerOptions{}, ClientOptions{}, func(s *Server) {
		Handle(s, "Echo", func(_ context.Context, b []byte) ([]byte, error) { return b, nil })
		HandleStream(s, "Sum", sum)
	})
	for name, opts := range map[string][]CallOption{"no word on it": nil, "idempotent": {Idempotent}, "one-way": {ReadOnly, OneWay}, "in a lane": {ReadOnly, Lane(1)}} {
		if _, err := Call[[]byte](soon(t), c, "Echo", []byte("x"), append(opts, Hedge)...); !errors.Is(err, Invalid) || !errors.Is(err, NotExecuted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenStream[int, int](soon(t), c, "Sum", 1, ReadOnly, Hedge); !errors.Is(err, Invalid) {
		t.Errorf("a stream: %v", err)
	}
	room := make([]byte, 0, 64)
	if got, err := c.CallBytes(soon(t), "Echo", []byte("hello"), room, ReadOnly, Hedge); err != nil || !bytes.Equal(got, []byte("hello")) || &got[:1][0] != &room[:1][0] {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := Spawn[[]byte](soon(t), c, "Echo", []byte("hello"), ReadOnly, Hedge).Get(soon(t)); err != nil || string(got) != "hello" {
		t.Errorf("spawned: %q, %v", got, err)
	}
	var e *Error
	if _, err := Call[[]byte](soon(t), c, "None", []byte("x"), ReadOnly, Hedge); !errors.Is(err, Unimplemented) || !errors.As(err, &e) || e.Method != "None" {
		t.Error(err)
	}
}
