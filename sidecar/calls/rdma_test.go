package calls

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/rdma"
	"rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/rpc/rdma/fakehost"
	"rpcpool.dev/rpc/rdma/fakeverbs"
	"rpcpool.dev/rpc/rdma/keeper"
	"rpcpool.dev/rpc/rdma/verbs"
)

// rdmaRig is a server with a device, and a client on another machine that has one, too.
type rdmaRig struct {
	*rig

	fabric  *fakeverbs.Fabric
	machine *fakehost.Machine // the server's
	other   *fakehost.Machine // the client's
	keeper  *keeper.Keeper    // the client's
	devices *devices
	metrics *prometheus.Registry
}

func (r *rdmaRig) options(m *fakehost.Machine, mode device.Mode) keeper.Options {
	return keeper.Options{
		Promise: device.Promise{Mode: mode, Want: device.Want{Resource: fakehost.Resource, Count: 1}, Host: m.Host()},
		Load:    func() (verbs.Driver, error) { return r.fabric, nil }, Adapter: rdma.Options{Timeout: 1},
	}
}

// newRDMARig starts both. The server looks at its device when it is told to.
func newRDMARig(t *testing.T, server, client device.Mode) *rdmaRig {
	t.Helper()
	r := &rdmaRig{fabric: fakeverbs.New(), metrics: prometheus.NewRegistry()}
	machine := func(name, addr string) *fakehost.Machine {
		m, err := fakehost.New(t.TempDir(), r.fabric, name, addr)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	r.machine = machine("mlx5_4", "10.0.0.5")
	m, err := NewMetrics(r.metrics)
	if err != nil {
		t.Fatal(err)
	}
	if r.devices, err = newDevices(r.options(r.machine, server), "library", r.metrics, slog.New(slog.NewTextHandler(t.Output(), nil))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.devices.close(); err != nil { // the server is closed
			t.Error(err)
		}
		if v := r.fabric.Violations(); len(v) > 0 {
			t.Errorf("violations: %q", v)
		}
	})
	r.look()
	r.other = machine("mlx5_7", "10.0.0.6")
	if r.keeper, err = keeper.Open(r.options(r.other, client)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.keeper.Close() })
	r.rig = newRig(t, Options{devices: r.devices, Metrics: m})
	_ = r.client.Close()
	far := rpc.ClientOptions{NoSharedMemory: true, FarBlobs: r.keeper.Far(), Grace: patience}
	if r.client, err = rpc.Dial(far, r.server.opts.Listeners[0].Addr().String()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rdmaRig) look() { r.devices.heed(r.devices.keeper.Look()) }

// echo has a worker send back 16 MiB, and returns how many transfers went by RDMA.
func (r *rdmaRig) echo() uint64 {
	r.t.Helper()
	past, _ := r.echoOf(16 << 20)
	return past
}

// echoOf tells of n bytes how many transfers went past the connection, and by it.
func (r *rdmaRig) echoOf(n int) (past, conn uint64) {
	r.t.Helper()
	sent := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(sent) // never fails
	before := r.server.blobs.Moved()
	got, err := rpc.Call[[]byte](r.t.Context(), r.client, "echo", sent)
	if err != nil || !bytes.Equal(got, sent) {
		r.t.Fatalf("%d bytes came back, %v", len(got), err)
	}
	after := r.server.blobs.Moved()
	if n := after.Mover - before.Mover; after.MoverBytes-before.MoverBytes < n*uint64(len(sent)) {
		r.t.Errorf("%d transfers of %d bytes", n, after.MoverBytes-before.MoverBytes)
	}
	return after.Mover - before.Mover, after.Conn - before.Conn
}

// TestWhatIsLongDependsOnTheDevice: without one, what is shorter than 1 MiB is quicker in
// messages, both ways; with one, blobs are.
func TestWhatIsLongDependsOnTheDevice(t *testing.T) {
	r := newRDMARig(t, device.Auto, device.Auto)
	is := func(what string, wantPast, wantConn uint64) {
		t.Helper()
		eventually(t, what, func() bool {
			past, conn := r.echoOf(rpc.FarWorkerBlob - 1)
			return past == wantPast && conn == wantConn
		})
	}
	is("both ways by RDMA", 2, 0)
	if err := r.other.Port(false); err != nil {
		t.Fatal(err)
	}
	r.keeper.Look()
	is("both ways in messages", 0, 0)
	if err := r.other.Port(true); err != nil {
		t.Fatal(err)
	}
	r.keeper.Look()
	is("both ways by RDMA again", 2, 0)
}

func (r *rdmaRig) metric(name string, labels ...string) (v float64) {
	r.t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var have []string
			for _, l := range m.GetLabel() {
				have = append(have, l.GetValue())
			}
			if f.GetName() == name && fmt.Sprint(have) == fmt.Sprint(labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	r.t.Errorf("there is no %s %q", name, labels)
	return 0
}

// TestS1_11_BlobsGoByTheDeviceThatAServerWasPromised, by TCP while that is away, and by it
// again.
func TestS1_11_BlobsGoByTheDeviceThatAServerWasPromised(t *testing.T) {
	r := newRDMARig(t, device.Auto, device.Auto)
	r.echo() // that a result is long nobody knew before
	eventually(t, "argument and result go by RDMA", func() bool { return r.echo() == 2 })
	if n := r.metric("rpcpool_rpc_rdma_pulled_bytes_total"); n < 2*16<<20 || r.metric("rpcpool_rpc_rdma_device_in_use") != 1 {
		t.Errorf("%v bytes were pulled", n)
	}
	for _, reason := range rdma.Reasons() { // all are there from the start on
		if n := r.metric("rpcpool_rpc_rdma_pull_failures_total", string(reason)); n != 0 {
			t.Errorf("%v pulls have failed: %s", n, reason)
		}
	}
	if m := r.client.BlobsMoved(); m.Mover < 3 {
		t.Errorf("the client counts %+v", m)
	}

	if err := r.machine.Unplug(); err != nil {
		t.Fatal(err)
	}
	r.look()
	if n := r.echo(); n != 0 {
		t.Errorf("%d transfers went by a device that is not there", n)
	}
	if note := r.devices.note(); !strings.HasPrefix(note, "NoRDMADevice: ") || r.devices.ready() != nil {
		t.Errorf("the registry is told %q, ready: %v", note, r.devices.ready())
	}
	fellBack := r.server.blobs.Moved().Why
	if len(fellBack) == 0 || r.metric("rpcpool_rpc_rdma_device_in_use") != 0 || r.metric("rpcpool_rdma_servers", "library", "NoRDMADevice") != 1 {
		t.Errorf("not counted: %v", fellBack)
	}
	for reason, n := range fellBack {
		if r.metric("rpcpool_rpc_blob_fallbacks_total", reason) != float64(n) {
			t.Errorf("fallbacks by %s are not %d", reason, n)
		}
	}
	if text := r.page(""); !strings.Contains(text, "RDMA auto: no device is open, and nothing goes by it: rdma: no-device: NoRDMADevice: ") {
		t.Errorf("the page has %q", text)
	}

	if err := r.machine.Plug(); err != nil {
		t.Fatal(err)
	}
	r.look()
	eventually(t, "RDMA is used again", func() bool { return r.echo() == 2 })
	if n := r.metric("rpcpool_rpc_rdma_device_opens_total"); n != 2 {
		t.Errorf("a device was opened %v times", n)
	}
	var l Listing
	if err := json.Unmarshal([]byte(r.page("application/json")), &l); err != nil {
		t.Fatal(err)
	}
	if l.RDMA == nil || l.RDMA.Device != "mlx5_4" || l.RDMA.Why != "" || l.RDMA.QueuePairs == 0 || l.Far.MoverBytes == 0 || len(l.Far.Fallbacks) == 0 {
		t.Errorf("the page has %+v", l)
	}
}

func (r *rdmaRig) page(accept string) string {
	req := httptest.NewRequest(http.MethodGet, "/debug/blobs", nil)
	req.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	r.server.BlobsPage().ServeHTTP(w, req)
	return w.Body.String()
}

// TestS1_11_RequiredIsRDMAOrNothing, at a client whose server has lost its device.
func TestS1_11_RequiredIsRDMAOrNothing(t *testing.T) {
	r := newRDMARig(t, device.Required, device.Required)
	if r.echo() == 0 || r.devices.ready() != nil {
		t.Errorf("ready: %v", r.devices.ready())
	}
	if err := r.machine.Port(false); err != nil {
		t.Fatal(err)
	}
	r.look()
	if err := r.devices.ready(); err == nil || !strings.HasPrefix(err.Error(), "RDMA is required: PortDown: ") {
		t.Errorf("ready: %v", err)
	}
	_, err := rpc.Call[[]byte](t.Context(), r.client, "echo", make([]byte, 1<<20))
	if !errors.Is(err, rpc.Refused) || !errors.Is(err, rpc.NotExecuted) || !strings.Contains(err.Error(), "bytes cannot go past the connection: ") {
		t.Errorf("%v", err)
	}
	if got, err := r.call("echo", "short"); err != nil || got != "short" {
		t.Errorf("what is short needs no RDMA: %v, %v", got, err)
	}
}

// TestADeviceThatCannotBeOpenedIsNotReady, although it looks well.
func TestADeviceThatCannotBeOpenedIsNotReady(t *testing.T) {
	r := &rdmaRig{fabric: fakeverbs.New()}
	m, err := fakehost.New(t.TempDir(), r.fabric, "mlx5_4", "10.0.0.5")
	if err != nil {
		t.Fatal(err)
	}
	m.NIC().Kill()
	if r.devices, err = newDevices(r.options(m, device.Required), "", prometheus.NewRegistry(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := r.devices.ready(); err == nil || err.Error() != "looking at the RDMA devices" {
		t.Errorf("before the first look: %v", err)
	}
	r.look()
	if note := r.devices.note(); !strings.HasPrefix(note, "NoDeviceNode: it looks well, and cannot be opened: ") || r.devices.ready() == nil {
		t.Errorf("the registry is told %q, ready: %v", note, r.devices.ready())
	}
	if err := r.devices.close(); err != nil {
		t.Error(err)
	}
}

// program is what these flags ask for, and what it logs of its devices when it runs.
func program(t *testing.T, args ...string) (*Program, string, error) {
	t.Helper()
	var f Flags
	set := flag.NewFlagSet("test", flag.ContinueOnError)
	f.Register(set)
	if err := set.Parse(append(args, "--listen=127.0.0.1:0")); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	p, err := f.Program(prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&log, nil)))
	if err == nil {
		t.Cleanup(func() { _ = p.Close() })
		ended, end := context.WithCancel(t.Context())
		end()
		if d := p.opts.devices; d != nil {
			d.run(ended)
		}
	}
	return p, log.String(), err
}

// TestAProgramWithoutRDMA starts if it may do without, and says once that it does; else it
// refuses, unless a registry is to be told.
func TestAProgramWithoutRDMA(t *testing.T) {
	_, none := verbs.Load()
	if none == nil {
		t.Skip("this program has RDMA")
	}
	_, log, err := program(t, "--rdma-mode=auto")
	if err != nil || strings.Count(log, "this program can use no RDMA device") != 1 || !strings.Contains(log, none.Error()) {
		t.Errorf("auto: %v; it says %q", err, log)
	}
	if _, log, err = program(t); err != nil || strings.Contains(log, "RDMA") {
		t.Errorf("off: %v; it says %q", err, log)
	}
	if _, log, err = program(t, "--rdma-mode=required"); err == nil || err.Error() != "--rdma-mode: required, but "+none.Error() || log != "" {
		t.Errorf("required: %v", err)
	}
	t.Setenv("RPCPOOL_RDMA_MODE", "required")
	if _, _, err = program(t); err == nil {
		t.Error("required by the environment: no error")
	}
	p, _, err := program(t, "--tracker=127.0.0.1:1", "--service=library")
	if err != nil {
		t.Fatalf("with a registry: %v", err)
	}
	p.opts.devices.heed(p.opts.devices.keeper.Look())
	if err := p.opts.devices.ready(); err == nil {
		t.Error("with a registry it is offered")
	}
	t.Setenv("RPCPOOL_RDMA_MODE", "perhaps")
	if _, _, err = program(t); err == nil || !strings.HasPrefix(err.Error(), `RPCPOOL_RDMA_MODE: "perhaps"`) && !strings.HasPrefix(err.Error(), `--rdma-mode: "perhaps"`) {
		t.Errorf("%v", err)
	}
}

// TestWhatIsToBePinnedIsAllThatBlobsMayHave: segments are registered as they come.
func TestWhatIsToBePinnedIsAllThatBlobsMayHave(t *testing.T) {
	p, _, err := program(t, "--rdma-mode=auto", "--blob-memory=123456789")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.opts.devices.keeper.Promise().Locked; got != 123456789 {
		t.Errorf("%d bytes are to be pinned", got)
	}
	if p, _, err = program(t, "--rdma-mode=auto", "--blobs=false"); err != nil || p.opts.devices.keeper.Promise().Locked != 0 {
		t.Errorf("without blobs: %v", err)
	}
}
