// Package echo is a client of a service of native calls that sends what is too long for
// a message, gets it back, and compares: bytes that go by blobs between pods.
package echo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/naming"
)

// Plan is what is called.
type Plan struct {
	Tracker string // HOST:PORT
	Service string
	Bytes   int // of each argument, and result
	Calls   int
}

// Line is what is printed for each call that has returned what it was given.
type Line struct {
	Call  int `json:"call"`
	Bytes int `json:"bytes"`
}

// Run makes the calls, one after another. It ends at the first that fails.
func Run(ctx context.Context, p Plan, w io.Writer) (err error) {
	registry, err := naming.Dial(rpc.ClientOptions{}, p.Tracker)
	if err != nil {
		return fmt.Errorf("tracker: %w", err)
	}
	defer func() { err = errors.Join(err, registry.Close()) }()
	servers := naming.Follow(registry, naming.FollowOptions{})
	defer func() { err = errors.Join(err, servers.Close()) }()
	c, err := rpc.NewClient(rpc.ClientOptions{Service: p.Service})
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := errors.Join(servers.Feed(p.Service, c), c.Ready(ctx, 1)); err != nil {
		return fmt.Errorf("service %s: %w", p.Service, err)
	}
	sent := make([]byte, p.Bytes)
	for i := range p.Calls {
		_, _ = rand.Read(sent) // never fails
		got, err := rpc.Call[[]byte](ctx, c, "echo", sent)
		if err != nil {
			return fmt.Errorf("call %d: %w", i, err)
		}
		if !bytes.Equal(got, sent) {
			return fmt.Errorf("call %d: sent %d bytes, %d others came back", i, len(sent), len(got))
		}
		if err := json.NewEncoder(w).Encode(Line{Call: i, Bytes: len(got)}); err != nil {
			return fmt.Errorf("call %d: %w", i, err)
		}
	}
	return nil
}
