//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"rpcpool.dev/rpc/worker"
)

// TestMain is also what the fleet's processes are.
func TestMain(m *testing.M) {
	if os.Getenv("CHAOS_RPC_CHILD") != "" || worker.Inherited() {
		if _, err := child(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Twenty seconds of chaos.
func TestAFleetKeepsItsPromises(t *testing.T) {
	o := &settings{calls: 1 << 30, servers: 3, clients: 2, workers: 12, seed: rand.Uint64N(1 << 32), limit: 20 * time.Second, slack: 2 * time.Second}
	t.Logf("seed %d", o.seed)
	f := &fleet{settings: o, dir: t.TempDir()}
	h, hits, err := f.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := check(h)
	found.print(t.Output(), hits, o.limit)
	if len(found.broken) > 0 {
		t.Errorf("%d promises were broken", len(found.broken))
	}
	if crashed := found.calls["Crashed, Indeterminate"]; crashed == 0 {
		t.Error("no call has lost its worker")
	}
	if found.given == 0 || len(found.kinds) < len(kinds) {
		t.Errorf("%d results were given to other calls; %v", found.given, found.kinds)
	}
	if len(h.outcomes) < 100 || len(hits) < 3 {
		t.Errorf("%d calls, %d kinds of trouble", len(h.outcomes), len(hits))
	}
}
