package naming

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/registry"
)

// TestAHostCountsWhoIsNotLetIn.
func TestAHostCountsWhoIsNotLetIn(t *testing.T) {
	h, err := NewHost(Options{Registry: registry.Options{Term: 1}, Token: func([]byte) error { return errors.New("wrong or no token") }}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	client, server := net.Pipe()
	h.Take(server)
	hello := frame.Hello{Limits: frame.Limits{MaxFrame: 64 << 10, MaxMessage: 1 << 20, Window: 1 << 20}}
	if _, err := conn.Shake(context.Background(), client, hello, time.Minute); err == nil {
		t.Error("it is let in")
	}
	want := [conn.Refusals]uint64{conn.RefusedToken: 1}
	for end := time.Now().Add(time.Minute); h.Counts().Refused != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("counted %v", h.Counts().Refused)
		}
	}
}
