package sidecar

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"rpcpool.dev/internal/tcp"
	rdma "rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// nic is a made-up machine with one RDMA device, which a test breaks and mends.
type nic struct {
	t    *testing.T
	root string
}

const nicDir = "sys/bus/pci/devices/0000:3b:00.3/"

func newNIC(t *testing.T) *nic {
	t.Helper()
	n := &nic{t: t, root: t.TempDir()}
	for path, text := range map[string]string{
		nicDir + "infiniband_verbs/uverbs4/ibdev":              "mlx5_4",
		nicDir + "infiniband/mlx5_4/ports/1/link_layer":        "Ethernet",
		nicDir + "infiniband/mlx5_4/ports/1/gids/0":            "0000:0000:0000:0000:0000:ffff:0a00:0005",
		nicDir + "infiniband/mlx5_4/ports/1/gid_attrs/types/0": "RoCE v2",
		"proc/self/status": "CapEff:\t0000000000004000",
	} {
		n.write(path, text)
	}
	n.port("4: ACTIVE")
	if err := os.MkdirAll(filepath.Join(n.root, "dev/infiniband"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", filepath.Join(n.root, "dev/infiniband/uverbs4")); err != nil {
		t.Fatal(err)
	}
	return n
}

// write replaces a file at once, as readers of sysfs see it.
func (n *nic) write(path, text string) {
	n.t.Helper()
	path = filepath.Join(n.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte(text+"\n"), 0o644); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		n.t.Fatal(err)
	}
}

func (n *nic) port(state string) {
	n.t.Helper()
	n.write(nicDir+"infiniband/mlx5_4/ports/1/state", state)
}

// promised is the option of a server that has the device.
func (n *nic) promised(mode rdma.Mode) rdma.Promise {
	return rdma.Promise{
		Mode: mode, Want: rdma.Want{Resource: "openshift.io/rdma_vf", Count: 1},
		Host: rdma.Host{
			Sys: filepath.Join(n.root, "sys"), Dev: filepath.Join(n.root, "dev"), Proc: filepath.Join(n.root, "proc"),
			Environ:   func() []string { return []string{"PCIDEVICE_OPENSHIFT_IO_RDMA_VF=0000:3b:00.3"} },
			Addresses: func() ([]rdma.Address, error) { return []rdma.Address{{Addr: netip.MustParseAddr("10.0.0.5")}}, nil },
		},
	}
}

const (
	nicWorks = "0000:3b:00.3 (mlx5_4): port 1, GID 0 10.0.0.5"
	nicDown  = "0000:3b:00.3 (mlx5_4): port 1 is DOWN, not ACTIVE"
)

// serveWith runs a server with the promised devices, at a tracker of ours. It
// looks at them all the time.
func serveWith(t *testing.T, r rdma.Promise, change func(*Options)) (*testServer, *tracker.Server) {
	t.Helper()
	tr, addr, _ := runTracker(t, "127.0.0.1:0")
	listener, err := tcp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	agent := newScriptedAgent(t)
	o := Options{
		Key: "dev", Listener: listener, AgentSocket: agent.path, Logger: quiet(), Command: []string{"worker"}, Warm: 1,
		Tracker: addr, Name: "rk-0", Instance: "uid-0", RDMA: r,
	}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if s.watch != nil {
		check := func() rdma.Report { return r.Host.Check(r.Want) }
		s.watch = rdma.Watch{Check: check, Tell: s.core.rdmaSeen, Period: time.Millisecond}.Run
	}
	runServer(t, s)
	return &testServer{Server: s, agent: agent}, tr
}

// says waits until the tracker knows what is true of the only server's devices.
func says(t *testing.T, tr *tracker.Server, want tvm.RDMAInfo) {
	t.Helper()
	eventually(t, "the tracker is told "+want.Message, func() bool {
		list := tr.ServersOf("dev")
		return len(list) == 1 && list[0].RDMA == want
	})
}

func TestARequiredDeviceThatDoesNotWorkWithholdsTheOffer(t *testing.T) {
	n := newNIC(t)
	n.port("1: DOWN")
	m, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	var log safeBuffer
	s, tr := serveWith(t, n.promised(rdma.Required), func(o *Options) {
		o.Metrics, o.Logger = m, slog.New(slog.NewTextHandler(&log, nil))
	})
	reason := "RDMA is required: PortDown: " + nicDown
	for range 2 {
		if got := status(t, tr, tracker.StateQuarantined); got.Reason != reason {
			t.Errorf("reason %q, want %q", got.Reason, reason)
		}
		says(t, tr, tvm.RDMAInfo{Reason: "PortDown", Message: nicDown})
		if err := s.Ready(); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("ready: %v", err)
		}
		if down := testutil.ToFloat64(m.rdma.WithLabelValues("dev", "PortDown")); down != 1 {
			t.Errorf("metric: %v down", down)
		}
		n.port("4: ACTIVE")
		status(t, tr, tracker.StateFree)
		says(t, tr, tvm.RDMAInfo{Reason: "DevicesReady", Message: nicWorks})
		eventually(t, "it is offered", func() bool { return s.Ready() == nil })
		if down, up := testutil.ToFloat64(m.rdma.WithLabelValues("dev", "PortDown")), testutil.ToFloat64(m.rdma.WithLabelValues("dev", "DevicesReady")); down != 0 || up != 1 {
			t.Errorf("metric: %v down, %v ready", down, up)
		}
		n.port("1: DOWN")
	}
	status(t, tr, tracker.StateQuarantined)
	if got := strings.Count(log.String(), "RDMA devices cannot be used"); got != 3 {
		t.Errorf("%d lines say that the devices do not work, want one each time:\n%s", got, log.String())
	}
}

// A session that has begun goes on, and the device is withdrawn after it.
func TestALinkThatGoesDownInASession(t *testing.T) {
	n := newNIC(t)
	s, tr := serveWith(t, n.promised(rdma.Required), nil)
	status(t, tr, tracker.StateFree)
	c := s.dial(t)
	c.handshake(s.ask(t), 0)
	cmd := s.agent.next(supervise.OpSession)
	busy := status(t, tr, tracker.StateBusy)
	n.port("1: DOWN")
	says(t, tr, tvm.RDMAInfo{Reason: "PortDown", Message: nicDown})
	if got := status(t, tr, tracker.StateBusy); got.Session != busy.Session {
		t.Errorf("session %q became %q", busy.Session, got.Session)
	}
	s.finishSession(cmd)
	status(t, tr, tracker.StateQuarantined)
}

// ask requests the server, and returns the ticket.
func (s *testServer) ask(t *testing.T) string {
	t.Helper()
	conn, err := tracker.Dial(t.Context(), s.options.Tracker)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	grant, err := conn.Request(t.Context(), "dev", 1)
	if err != nil {
		t.Fatal(err)
	}
	return grant.MatchKey
}

// With Auto the server is offered whatever is true, and says it. News leave the
// ticket alone: who was granted it before them is let in.
func TestAnAutoDeviceIsOfferedAndToldAbout(t *testing.T) {
	n := newNIC(t)
	n.port("1: DOWN")
	s, tr := serveWith(t, n.promised(rdma.Auto), nil)
	status(t, tr, tracker.StateFree)
	says(t, tr, tvm.RDMAInfo{Reason: "PortDown", Message: nicDown})
	ticket := s.ask(t)
	n.port("4: ACTIVE")
	says(t, tr, tvm.RDMAInfo{Reason: "DevicesReady", Message: nicWorks})
	if got := status(t, tr, tracker.StateGranted); got.Reason != "" {
		t.Errorf("%+v", got)
	}
	c := s.dial(t)
	c.handshake(ticket, 0)
	s.finishSession(s.agent.next(supervise.OpSession))
	status(t, tr, tracker.StateFree)
}

// On a bare machine nobody grants devices.
func TestAutoWithoutADevicePlugin(t *testing.T) {
	r := rdma.Promise{Mode: rdma.Auto, Want: rdma.Want{Resource: "example.com/none"}}
	_, tr := serveWith(t, r, nil)
	status(t, tr, tracker.StateFree)
	says(t, tr, tvm.RDMAInfo{Reason: "NoDeviceGranted", Message: "no device of example.com/none was granted: PCIDEVICE_EXAMPLE_COM_NONE is not set"})
}

func TestAServerThatWasPromisedNothingSaysNothing(t *testing.T) {
	s, tr := serveWith(t, rdma.Promise{}, nil)
	if got := status(t, tr, tracker.StateFree); got.RDMA != (tvm.RDMAInfo{}) || s.watch != nil {
		t.Errorf("%+v", got)
	}
	r := &registration{offer: &offer{key: "dev"}}
	info, err := r.info(device{})
	if _, sent := info[tvm.FieldRDMA]; sent || err != nil {
		t.Errorf("%s, error %v", info[tvm.FieldRDMA], err)
	}
}

func TestNewsOfDevicesAreAnUpdateAndNoPut(t *testing.T) {
	f := newFakeTracker()
	o, _ := startOffer(t, f, time.Hour)
	o.publish(device{state: stateFree, offer: 1})
	f.see(t, "PUT", func() bool { return len(f.puts) == 1 })
	before := len(f.infos)
	o.publish(device{state: stateFree, offer: 1, rdma: tvm.RDMAInfo{Reason: "NoGID", Message: "why"}})
	f.see(t, "UPDATE_INFO", func() bool {
		return string(f.infos[len(f.infos)-1][tvm.FieldRDMA]) == `{"reason":"NoGID","message":"why"}`
	})
	o.publish(device{state: stateFree, offer: 2, rdma: tvm.RDMAInfo{Reason: "NoGID", Message: "why"}})
	f.see(t, "the next offer's PUT", func() bool { return len(f.puts) == 2 })
	o.publish(device{state: stateBusy, offer: 2})
	f.see(t, "that it is busy", func() bool { return string(f.infos[len(f.infos)-1][tvm.FieldState]) == `"busy"` })
	if news := len(f.infos) - before; news != 2 || len(f.puts) != 2 {
		t.Errorf("%d UPDATE_INFOs and %d PUTs, want 2 each", news, len(f.puts))
	}
}

// A server ends although a look at its devices does not.
func TestADriverThatHangsDoesNotKeepTheServer(t *testing.T) {
	release := make(chan struct{})
	for _, patience := range []time.Duration{time.Nanosecond, time.Hour} {
		asked := make(chan struct{}, 1)
		s, stop := startHooked(t, newScriptedAgent(t), func(s *Server) {
			check := func() rdma.Report { asked <- struct{}{}; <-release; return rdma.Report{} }
			s.watch = rdma.Watch{Check: check, Tell: s.core.rdmaSeen, Patience: patience}.Run
		})
		<-asked
		if err := stop(); err != nil {
			t.Errorf("%s: %v", s.Addr(), err)
		}
	}
	close(release)
}

func TestFlagsOfRDMA(t *testing.T) {
	o, err := parseFlags(t, "--key=k", "--listen=127.0.0.1:0", "--rdma-mode=Required", "--rdma-resource=openshift.io/rdma_vf", "--rdma-count=2")
	if err != nil || o.RDMA.Mode != rdma.Required || o.RDMA.Want != (rdma.Want{Resource: "openshift.io/rdma_vf", Count: 2}) {
		t.Errorf("%+v, error %v", o.RDMA, err)
	}
	if o, err = parseFlags(t, "--key=k", "--listen=127.0.0.1:0"); err != nil || o.RDMA.Mode.On() {
		t.Errorf("by default: %+v, error %v", o.RDMA, err)
	}
	for args, want := range map[string]string{
		"--rdma-mode=on":                        `--rdma-mode: "on": want off, auto or required`,
		"--rdma-mode=auto --rdma-resource=\x1b": `--rdma-resource: "\x1b" has characters that cannot be printed`,
		"--rdma-count=0":                        "--rdma-count: 0 is not between 1 and 64",
		"--rdma-count=65":                       "--rdma-count: 65 is not between 1 and 64",
	} {
		if _, err := parseFlags(t, append([]string{"--key=k"}, strings.Fields(args)...)...); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", args, err, want)
		}
	}
	o, err = parseFlags(t, "--key=k", "--rdma-mode=auto", "--rdma-network-status=/etc/x") // whatever it was given
	if err != nil || o.RDMA.Want != (rdma.Want{Count: 1}) || o.RDMA.Host.NetworkStatus != "/etc/x" {
		t.Errorf("%+v, error %v", o.RDMA, err)
	}
}

// safeBuffer is a log that is read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p) //nolint:wrapcheck // never fails
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
