//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// allFree checks that the tracker shows every device free, and nothing else.
func (f *fleet) allFree(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	t, err := tracker.Dial(ctx, f.address)
	if err != nil {
		return fmt.Errorf("tracker: %w", err)
	}
	defer func() { _ = t.Close() }()
	summary, err := t.Summary(ctx)
	if err != nil {
		return fmt.Errorf("tracker: %w", err)
	}
	var states []string
	free := 0
	for _, s := range summary.Servers {
		host, port := s.Addr()
		states = append(states, fmt.Sprintf("%s:%s %s", host, port, s.State()))
		if s.State() == string(tvm.StateFree) {
			free++
		}
	}
	if n := summary.Queue[deviceKey].Free; free != len(f.servers) || n != free || len(states) != free {
		return fmt.Errorf("%d devices of %d are free, %d on offer: %q", free, len(f.servers), n, states)
	}
	return nil
}
