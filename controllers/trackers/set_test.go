package trackers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/naming"
	"rpcpool.dev/rpc/registry"
	"rpcpool.dev/tracker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// leader is a set that leads until the test ends or it is deposed.
type leader struct {
	*Set
	depose func()
	news   chan string // "namespace/name key"
}

func lead(t *testing.T, change func(*Options)) *leader {
	t.Helper()
	l := &leader{news: make(chan string, 1000)}
	o := Options{Host: "127.0.0.1", Changed: func(id ID, key string) { l.news <- id.String() + " " + key }}
	if change != nil {
		change(&o)
	}
	l.Set = NewSet(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Start(ctx) }()
	l.depose = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(l.depose)
	return l
}

func (l *leader) ensure(t *testing.T, id ID) uint16 {
	t.Helper()
	port, err := l.Ensure(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (l *leader) await(t *testing.T, news string) {
	t.Helper()
	for {
		select {
		case n := <-l.news:
			if n == news {
				return
			}
		case <-time.After(patience):
			t.Fatalf("no news %q", news)
		}
	}
}

func ping(port uint16) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := tracker.Dial(ctx, fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	return errors.Join(c.Ping(ctx), c.Close())
}

var (
	tuning = ID{Namespace: "tuning", Name: "rpcpool-tracker"}
	other  = ID{Namespace: "other", Name: "rpcpool-tracker"}
)

func TestEachNamespaceHasATrackerOfItsOwn(t *testing.T) {
	l := lead(t, nil)
	a, b := l.ensure(t, tuning), l.ensure(t, other)
	if a == b || l.Get(tuning) == l.Get(other) {
		t.Error("two namespaces share a tracker")
	}
	if again := l.ensure(t, tuning); again != a {
		t.Errorf("asked for again, the tracker is at %d, before at %d", again, a)
	}
	for _, port := range []uint16{a, b} {
		if err := ping(port); err != nil {
			t.Error(err)
		}
	}
}

func TestATrackersPortIsARegistryToo(t *testing.T) {
	l := lead(t, nil)
	c, err := naming.Dial(rpc.ClientOptions{}, fmt.Sprintf("127.0.0.1:%d", l.ensure(t, tuning)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if state, err := naming.State(ctx, c, 1); state != registry.StateUnknown || err != nil {
		t.Errorf("an epoch of a registry before: %v, %v", state, err)
	}
}

func TestALeaderThatIsDeposedListensToNothing(t *testing.T) {
	l := lead(t, nil)
	port := l.ensure(t, tuning)
	l.depose()
	if err := ping(port); err == nil {
		t.Error("it still listens")
	}
	if _, err := l.Ensure(context.Background(), other); !errors.Is(err, ErrClosed) {
		t.Errorf("it began to listen again: %v", err)
	}
}

func TestATrackerThatNobodyNamesAnyMoreIsStopped(t *testing.T) {
	l := lead(t, nil)
	port := l.ensure(t, tuning)
	l.Stop(tuning)
	l.Stop(other) // never ran
	l.await(t, "tuning/rpcpool-tracker ")
	if err := ping(port); err == nil || l.Get(tuning) != nil {
		t.Errorf("it still listens: %v", err)
	}
}

func TestPortsAreTakenFromTheRange(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := uint16(taken.Addr().(*net.TCPAddr).Port)
	l := lead(t, func(o *Options) { o.Ports = Ports{First: port, Last: port} })
	if _, err := l.Ensure(context.Background(), tuning); err == nil {
		t.Fatal("a port that is in use was taken")
	}
	_ = taken.Close()
	if got := l.ensure(t, tuning); got != port {
		t.Errorf("port %d, want %d", got, port)
	}
}

func TestATrackersMetricsGoWithIt(t *testing.T) {
	registry := prometheus.NewRegistry()
	l := lead(t, func(o *Options) { o.Registerer = registry })
	l.ensure(t, tuning)
	l.ensure(t, other)
	count := func() (n int) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "rpcpool_tracker_connections" {
				n = len(f.GetMetric())
			}
		}
		return n
	}
	if n := count(); n != 2 {
		t.Fatalf("%d trackers have metrics, want 2", n)
	}
	l.Stop(tuning)
	l.await(t, "tuning/rpcpool-tracker ")
	if n := count(); n != 1 {
		t.Errorf("%d trackers have metrics, want 1", n)
	}
}

func TestPortRanges(t *testing.T) {
	for text, want := range map[string]Ports{
		"": {}, "9190": {9190, 9190}, "20000-20999": {20000, 20999}, "65535-65535": {65535, 65535},
	} {
		got, err := ParsePorts(text)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if again, err := ParsePorts(got.String()); err != nil || again != got {
			t.Errorf("%q: %q is not read back: %v", text, got, err)
		}
	}
	for _, text := range []string{"0", "a", "2-1", "1-65536", "-1", "1-", "0-10"} {
		if got, err := ParsePorts(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

// TestClientsAreToldOfNewServersWhenTheRegistryHasSettled: that is news to pools.
func TestClientsAreToldOfNewServersWhenTheRegistryHasSettled(t *testing.T) {
	l := lead(t, func(o *Options) {
		o.lease = registry.Lease{Renew: 100 * time.Millisecond, Self: 300 * time.Millisecond, Fence: time.Second}
	})
	id := ID{Namespace: "ns", Name: "t"}
	if l.Joins(id) {
		t.Error("there is no tracker")
	}
	begun := time.Now()
	l.ensure(t, id)
	if l.Joins(id) && time.Since(begun) < time.Second {
		t.Error("those that it may have had cannot have come back")
	}
	l.await(t, "ns/t ")
	if !l.Joins(id) {
		t.Error("it has settled, and takes in nobody")
	}
}
