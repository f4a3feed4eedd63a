package rpc

import (
	"context"
	"errors"
	"testing"
)

// TestArgumentsOfOneWayCallsAreTheirOwn, also while they wait for a server that does not serve yet.
func TestArgumentsOfOneWayCallsAreTheirOwn(t *testing.T) {
	const calls = 100
	s, err := NewServer(ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	noted := make(chan int, calls)
	Handle(s, "note", func(_ context.Context, a struct{ Number int }) (int, error) {
		noted <- a.Number
		return 0, nil
	})
	address := "unix:" + t.TempDir() + "/s"
	l, err := s.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(ClientOptions{}, address)
	if err != nil {
		t.Fatal(err)
	}
	for i := range calls {
		if err := CallInto(soon(t), c, "note", struct{ Number int }{i}, nil, OneWay); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	seen := map[int]bool{}
	for range calls {
		select {
		case n := <-noted:
			seen[n] = true
		case <-soon(t).Done():
			t.Fatalf("%d calls have arrived", len(seen))
		}
	}
	if len(seen) != calls {
		t.Errorf("%d calls had the arguments of %d", calls, len(seen))
	}
	if err := errors.Join(c.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	<-served
}
