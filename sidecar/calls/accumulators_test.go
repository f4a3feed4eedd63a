package calls

import (
	"context"
	"errors"
	"flag"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/rpc/accumulator"
	"rpcpool.dev/rpc/accumulator/remote"
)

func listenAt(t *testing.T, addr string) *Accumulators {
	t.Helper()
	var f Flags
	set := flag.NewFlagSet("test", flag.ContinueOnError)
	f.Register(set)
	if err := set.Parse([]string{"--accumulators=" + addr}); err != nil {
		t.Fatal(err)
	}
	l, err := f.ListenAccumulators()
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewAccumulators(l, prometheus.NewRegistry(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestAWorkersEnvironmentLeadsToItsAccumulators over both kinds of address.
func TestAWorkersEnvironmentLeadsToItsAccumulators(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		a := listenAt(t, addr)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		t.Setenv(remote.Variable, a.Address())
		c, err := remote.DialEnvironment(accumulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		c.Sum("x").Add(1)
		if err := errors.Join(c.Flush(soon(t)), c.Close(soon(t))); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	t.Setenv(remote.Variable, "")
	if c, err := remote.DialEnvironment(accumulator.Options{}); c != nil || err != nil {
		t.Errorf("without an address: %v, %v", c, err)
	}
	t.Setenv(remote.Variable, "nonsense")
	if _, err := remote.DialEnvironment(accumulator.Options{}); err == nil {
		t.Error("nonsense is an address")
	}
}

func TestAccumulatorsThatLoseTheirListenerSaySo(t *testing.T) {
	a := listenAt(t, "127.0.0.1:0")
	_ = a.listener.Close()
	if err := a.Run(t.Context()); err == nil {
		t.Error("no error")
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
