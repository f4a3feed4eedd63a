package export

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/naming"
	"rpcpool.dev/rpc/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixed is a source that says always the same.
type fixed struct{ counts naming.Counts }

func (f *fixed) Counts() naming.Counts { return f.counts }

func TestEveryCountIsShown(t *testing.T) {
	n := naming.Counts{Watchers: 1, Waiting: 2, Counts: registry.Counts{
		Nodes: 10, Suspect: 3, Servers: 4, Services: 5, Locks: 6, Load: 7, Settling: true, Epochs: 8, Left: 9, Lost: 11,
	}}
	n.Refusals[registry.Twin], n.Refusals[registry.Full] = 12, 13
	n.Refused[conn.RefusedToken] = 14
	f := &fixed{n}
	all := prometheus.NewPedanticRegistry()
	c, err := Register(all, f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Register(all, f); err == nil {
		t.Error("it can be there twice")
	}
	if err := testutil.GatherAndCompare(all, strings.NewReader(`
# HELP rpcpool_registry_departures_total Nodes that are gone: left (they said so) or lost (their lease was over).
# TYPE rpcpool_registry_departures_total counter
rpcpool_registry_departures_total{reason="left"} 9
rpcpool_registry_departures_total{reason="lost"} 11
# HELP rpcpool_registry_epochs_total Epochs that were given: nodes that came as another instance than before.
# TYPE rpcpool_registry_epochs_total counter
rpcpool_registry_epochs_total 8
# HELP rpcpool_registry_load Calls that wait at all nodes, as they said with their last renewal.
# TYPE rpcpool_registry_load gauge
rpcpool_registry_load 7
# HELP rpcpool_registry_locks Locks that a node has.
# TYPE rpcpool_registry_locks gauge
rpcpool_registry_locks 6
# HELP rpcpool_registry_nodes Nodes of the registry, by state: alive, or suspect (it has not renewed its lease, and has to end its workers).
# TYPE rpcpool_registry_nodes gauge
rpcpool_registry_nodes{state="alive"} 7
rpcpool_registry_nodes{state="suspect"} 3
# HELP rpcpool_registry_connections_refused_total Connections of clients of the registry that were refused: for a wrong token, or none (token), a handshake of TLS that failed (tls), no TLS where it must be or TLS where there is none (tls-mismatch), too many of them (overload), a handshake that took too long (timeout), or because they spoke something else (protocol).
# TYPE rpcpool_registry_connections_refused_total counter
rpcpool_registry_connections_refused_total{reason="overload"} 0
rpcpool_registry_connections_refused_total{reason="protocol"} 0
rpcpool_registry_connections_refused_total{reason="timeout"} 0
rpcpool_registry_connections_refused_total{reason="tls"} 0
rpcpool_registry_connections_refused_total{reason="tls-mismatch"} 0
rpcpool_registry_connections_refused_total{reason="token"} 14
# HELP rpcpool_registry_refusals_total Requests that the registry refused: malformed, twin (another instance has the node's name), settling, duplicate (another server has the id), fenced, unknown (register again) or full.
# TYPE rpcpool_registry_refusals_total counter
rpcpool_registry_refusals_total{reason="duplicate"} 0
rpcpool_registry_refusals_total{reason="fenced"} 0
rpcpool_registry_refusals_total{reason="full"} 13
rpcpool_registry_refusals_total{reason="malformed"} 0
rpcpool_registry_refusals_total{reason="settling"} 0
rpcpool_registry_refusals_total{reason="twin"} 12
rpcpool_registry_refusals_total{reason="unknown"} 0
# HELP rpcpool_registry_servers Servers of all services.
# TYPE rpcpool_registry_servers gauge
rpcpool_registry_servers 4
# HELP rpcpool_registry_services Names that servers have.
# TYPE rpcpool_registry_services gauge
rpcpool_registry_services 5
# HELP rpcpool_registry_settling 1 while the registry waits for the nodes of the one before it, and takes in no others.
# TYPE rpcpool_registry_settling gauge
rpcpool_registry_settling 1
# HELP rpcpool_registry_waiting Calls that wait for a lock or at a barrier.
# TYPE rpcpool_registry_waiting gauge
rpcpool_registry_waiting 2
# HELP rpcpool_registry_watchers Clients that are told of every change.
# TYPE rpcpool_registry_watchers gauge
rpcpool_registry_watchers 1
`)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(all); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	c.Unregister()
	if families, err := all.Gather(); err != nil || len(families) > 0 {
		t.Errorf("after it was taken out: %v, %v", families, err)
	}
}

// TestAServerCounts: on the network, who watches, who waits, and who is refused.
func TestAServerCounts(t *testing.T) {
	host, err := naming.NewHost(naming.Options{Registry: registry.Options{Term: 1, First: true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- host.Serve(l) }()
	defer func() {
		_ = host.Close()
		<-served
	}()
	c, err := naming.Dial(rpc.ClientOptions{}, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f := naming.Follow(c, naming.FollowOptions{})
	defer f.Close()
	n, err := naming.Join(ctx, c, naming.NodeOptions{ID: "a", Services: []registry.Service{{Name: "s"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	twin, err := naming.Start(c, naming.NodeOptions{ID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer twin.Close()
	waits := make(chan error, 1)
	stop, end := context.WithCancel(ctx)
	go func() { waits <- n.Barrier(stop, "b", 2) }()
	for {
		got := host.Counts()
		if got.Watchers == 1 && got.Waiting == 1 && got.Nodes == 1 && got.Servers == 1 && got.Refusals[registry.Twin] > 0 {
			break
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%+v", got)
		}
	}
	end()
	<-waits
}
