package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"rpcpool.dev/rpc"
)

// TestMain lets the test's program be a server, or its worker, as the benchmark's is.
func TestMain(m *testing.M) {
	if rpc.IsWorker() {
		exit(work())
	}
	if len(os.Args) == 5 && os.Args[1] == "serve" {
		exit(serve(os.Args[2], os.Args[3], os.Args[4]))
	}
	os.Exit(m.Run())
}

// TestEveryPeerEchoes measures every peer for a moment. measure fails if anything
// else comes back than was sent.
func TestEveryPeerEchoes(t *testing.T) {
	for _, p := range peers {
		for _, network := range networks {
			t.Run(p.name+"/"+network, func(t *testing.T) {
				addr := "127.0.0.1:0"
				if network == "unix" {
					addr = filepath.Join(t.TempDir(), "s")
				}
				s, err := startServer(p, network, addr)
				if err != nil {
					t.Fatal(err)
				}
				defer s.stop()
				for _, size := range sizes {
					c, err := p.dial(network, s.addr, 3)
					if err != nil {
						t.Fatal(err)
					}
					r, err := measure(c, s, size.bytes, 3, 5*time.Millisecond)
					if err != nil || r.calls == 0 || r.p50 <= 0 || r.p99 < r.p50 {
						t.Errorf("%s: %+v, %v", size.name, r, err)
					}
					_ = c.close()
				}
			})
		}
	}
}

func TestMedian(t *testing.T) {
	rounds := []round{{calls: 9}, {calls: 1}, {calls: 5}}
	if m := median(rounds, func(r round) int { return r.calls }); m != 5 {
		t.Errorf("median is %d", m)
	}
	if _, err := chosen("raw,nobody"); err == nil {
		t.Error("an unknown peer is chosen")
	}
}
