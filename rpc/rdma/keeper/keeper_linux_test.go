package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/rdma"
	"rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/rpc/rdma/fakehost"
	"rpcpool.dev/rpc/rdma/fakeverbs"
	"rpcpool.dev/rpc/rdma/verbs"
)

func TestS1_11_ALinkThatGoesDownIsTCPAndUsedAgainWhenItIsUp(t *testing.T) {
	r := newRig(t, remote.Auto)
	r.goes(2)
	r.do(r.client.Port(false))
	r.client.Look()
	r.is(r.client, rdma.PortDown)
	r.goes(0, rdma.PortDown)
	r.do(r.client.Port(true))
	r.client.Look()
	r.is(r.client, "")
	r.goes(2)
	if s := r.client.Status(); s.Opens != 1 || s.Device != "mlx5_7" {
		t.Errorf("it was opened again, which nothing needs: %+v", s)
	}
}

func TestADeviceThatIsTakenAwayIsTCPAndUsedAgainWhenAnotherComes(t *testing.T) {
	r := newRig(t, remote.Auto)
	r.goes(2)
	r.do(r.client.Unplug())
	r.client.Look()
	r.is(r.client, rdma.NoDevice)
	if err := r.client.Ready(); !strings.Contains(err.Error(), "NoRDMADevice") {
		t.Errorf("it is not told in the words of the condition: %v", err)
	}
	r.goes(0, rdma.NoDevice)
	r.do(r.client.Plug())
	r.client.Look()
	r.goes(2)
	if s := r.client.Status(); s.Opens != 2 || s.Counts.Pulls != 2 || s.Counts.Registrations < 4 {
		t.Errorf("what was before is not counted: %+v", s)
	}
}

// TestAnIdleServersDeviceThatWorksNoMoreIsOpenedAgain: it tells so by itself, and a look is due.
func TestAnIdleServersDeviceThatWorksNoMoreIsOpenedAgain(t *testing.T) {
	r := newRig(t, remote.Auto)
	r.server.NIC().Tell(verbs.Event{Kind: verbs.DeviceFatal})
	<-r.server.news
	r.is(r.server, rdma.DeviceFault)
	r.server.Look()
	r.is(r.server, "")
	if s := r.server.Status(); s.Opens != 2 {
		t.Errorf("it was not opened again: %+v", s)
	}
	r.goes(2)
}

// TestAPortThatChangesIsALook: and what is open stays so.
func TestAPortThatChangesIsALook(t *testing.T) {
	r := newRig(t, remote.Auto)
	r.do(r.server.Port(false))
	r.server.NIC().Tell(verbs.Event{Kind: verbs.QueueFatal}) // no look
	r.server.NIC().Tell(verbs.Event{Kind: verbs.PortChanged})
	<-r.server.news
	r.is(r.server, "")
	r.server.Look()
	r.is(r.server, rdma.PortDown)
	if s := r.server.Status(); s.Opens != 1 {
		t.Errorf("it was opened again: %+v", s)
	}
}

// TestAServersDeviceComesAndGoes: its client has the connection's pause before it tries again.
func TestAServersDeviceComesAndGoes(t *testing.T) {
	r := newRig(t, remote.Auto)
	r.goes(2)
	r.do(r.server.Unplug())
	r.server.Look()
	r.goes(0) // a dead queue pair
	if why := r.far.Moved().Why; len(why) == 0 {
		t.Error("nothing is counted")
	}
	r.do(r.server.Plug())
	r.server.Look()
	for end := time.Now().Add(time.Minute); ; {
		before := r.far.Moved().Mover
		if err := r.roundTrip(); err != nil {
			t.Fatal(err)
		}
		if r.far.Moved().Mover > before {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("RDMA is not used again: %v, server: %v", r.far.Moved().Why, r.remote.Moved().Why)
		}
		time.Sleep(50 * time.Millisecond) // the pause is a second
	}
	if s := r.server.Status(); s.Opens != 2 {
		t.Errorf("%+v", s)
	}
}

// TestAFaultIsHelpedByOpeningAgain: the device looks well from outside.
func TestAFaultIsHelpedByOpeningAgain(t *testing.T) {
	r := newRig(t, remote.Auto)
	r.client.NIC().Kill()
	r.goes(0, rdma.NoDevice)
	if seen := r.client.Look(); seen.Reason != device.NoDeviceNode || !strings.Contains(seen.Message, "no-device") {
		t.Errorf("a device that cannot be opened is %s: %s", seen.Reason, seen.Message)
	}
	r.is(r.client, rdma.NoDevice)
	r.do(errors.Join(r.client.Unplug(), r.client.Plug())) // quicker than anybody looks
	r.client.Look()
	r.is(r.client, "")
}

func TestRequiredFailsWithTheReason(t *testing.T) {
	r := newRig(t, remote.Required)
	r.goes(2)
	r.do(r.client.Port(false))
	r.client.Look()
	var no *remote.MoverError
	if err := r.roundTrip(); !errors.As(err, &no) || no.Reason != string(rdma.PortDown) || !strings.Contains(err.Error(), "port 1 is DOWN") {
		t.Errorf("%v", err)
	}
	r.do(r.client.Port(true))
	r.client.Look()
	r.goes(2)
	m := r.machine("mlx5_9", "10.0.0.7")
	r.do(m.Port(false))
	if k, err := Open(r.options(m, device.Required)); rdma.ReasonOf(err) != rdma.PortDown || !strings.HasPrefix(err.Error(), "RDMA is required: ") {
		t.Errorf("%v, %v", k, err)
	}
}

func TestAProgramWithoutRDMASaysSo(t *testing.T) {
	r := newRig(t, remote.Auto)
	o := r.options(r.client.Machine, device.Auto)
	o.Load = func() (verbs.Driver, error) {
		return nil, fmt.Errorf("%w: this program was built without it", rdma.ErrNoRDMA)
	}
	k, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Ready(); rdma.ReasonOf(err) != rdma.NoRDMA || !strings.Contains(err.Error(), "built without") || !errors.Is(k.NoDriver(), rdma.ErrNoRDMA) {
		t.Errorf("%v", err)
	}
	if r := k.Look(); r.Reason != device.NoLibrary {
		t.Errorf("the report is %+v", r)
	}
	if _, err := k.Line(); rdma.ReasonOf(err) != rdma.NoRDMA {
		t.Errorf("a line: %v", err)
	}
	r.do(k.Close())
	o.Promise.Mode = device.Required
	if _, err := Open(o); rdma.ReasonOf(err) != rdma.NoRDMA {
		t.Errorf("required: %v", err)
	}
}

// Without libibverbs no device helps, so that there is none, or one that does not work, is
// not the reason, and no second line.
func TestAProgramWithoutRDMASaysNothingElse(t *testing.T) {
	for name, spoil := range map[string]func(*fakehost.Machine, *Options) error{
		"no device":         func(m *fakehost.Machine, _ *Options) error { return m.Unplug() },
		"port down":         func(m *fakehost.Machine, _ *Options) error { return m.Port(false) },
		"one device of two": func(_ *fakehost.Machine, o *Options) error { o.Promise.Count = 2; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := &rig{T: t, fabric: fakeverbs.New()}
			m := r.machine("mlx5_4", "10.0.0.5")
			var log bytes.Buffer
			o := r.options(m, device.Auto)
			r.do(spoil(m, &o))
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			o.Load = func() (verbs.Driver, error) { return nil, rdma.ErrNoRDMA }
			k, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Ready(); rdma.ReasonOf(err) != rdma.NoRDMA {
				t.Errorf("the reason is not that there is no RDMA: %v", err)
			}
			if r := k.Look(); r.Reason == device.DevicesReady || r.Reason == device.NoLibrary {
				t.Errorf("the report is not of the devices: %+v", r)
			}
			r.do(k.Close())
			if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), "this program can use no RDMA device") {
				t.Errorf("not one line that says so:\n%s", log.String())
			}
		})
	}
}

func TestOffIsOff(t *testing.T) {
	k, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f := k.Far(); f.Mover != nil || f.Mode != remote.Off || k.Ready() == nil {
		t.Errorf("%+v, %v", f, k.Ready())
	}
	if err := errors.Join(k.LetGo(noise(1)), k.Close()); err != nil {
		t.Error(err)
	}
}

// TestOpenLooksByItself: once before it returns.
func TestOpenLooksByItself(t *testing.T) {
	r := &rig{T: t, fabric: fakeverbs.New()}
	for mode, want := range map[device.Mode]remote.MoverMode{device.Auto: remote.Auto, device.Required: remote.Required} {
		k, err := Open(r.options(r.machine("mlx5_4", "10.0.0.5"), mode))
		if err != nil {
			t.Fatal(err)
		}
		if f := k.Far(); f.Mover != k || f.Mode != want || k.Ready() != nil {
			t.Errorf("%+v, %v", f, k.Ready())
		}
		r.do(k.Close())
		if err := k.Ready(); rdma.ReasonOf(err) != rdma.Closed {
			t.Errorf("closed: %v", err)
		}
	}
}

// TestMemoryThatADeviceKeepsIsNotGivenBack, however many devices come after that one.
func TestMemoryThatADeviceKeepsIsNotGivenBack(t *testing.T) {
	r := &rig{T: t, fabric: fakeverbs.New()}
	s := r.side("mlx5_4", "10.0.0.5")
	segment := noise(8 << 10)
	if _, err := s.now.adapter.Register(segment, verbs.Source); err != nil {
		t.Fatal(err)
	}
	s.NIC().Release = syscall.EBUSY
	r.do(errors.Join(s.Unplug(), s.Plug()))
	s.now.faulty = true
	s.Look()
	r.is(s, "")
	for range 2 {
		if err := s.LetGo(segment); !errors.Is(err, rdma.ErrStuck) {
			t.Errorf("let go: %v", err)
		}
	}
	if err := s.LetGo(noise(1)); err != nil {
		t.Errorf("other memory: %v", err)
	}
	if err := s.Close(); !errors.Is(err, rdma.ErrStuck) {
		t.Errorf("closed: %v", err)
	}
	if n := s.Status().Counts.Stuck; n != 1 {
		t.Errorf("%d regions are stuck", n)
	}
}

// TestOfSeveralDevicesOneIsUsed: the first that can be opened, until it does not work and
// another one does.
func TestOfSeveralDevicesOneIsUsed(t *testing.T) {
	r := &rig{T: t, fabric: fakeverbs.New()}
	s := r.side("mlx5_0", "10.0.0.5")
	r.fabric.Add("mlx5_2", verbs.GID(netip.MustParseAddr("10.0.1.5").As16()))
	first := device.Device{Name: "mlx5_1", Reason: device.DevicesReady} // that nobody can open
	second := device.Device{Name: "mlx5_2", Reason: device.DevicesReady}
	own := s.now.device
	down := own
	down.Reason = device.PortDown
	for _, step := range []struct {
		name string
		seen device.Report
		open string
		why  rdma.Reason
	}{
		{"all work: it stays", device.Report{Reason: device.DevicesReady, Devices: []device.Device{first, second, own}}, "mlx5_0", ""},
		{"none works: it is idle", device.Report{Reason: device.PortDown, Devices: []device.Device{down}}, "mlx5_0", rdma.PortDown},
		{"nobody can look", device.Report{Reason: device.NoAnswer}, "mlx5_0", rdma.NoDevice},
		{"nobody may pin", device.Report{Reason: device.MemlockTooSmall, Devices: []device.Device{own}}, "mlx5_0", rdma.Memlock},
		{"another one does", device.Report{Reason: device.PortDown, Devices: []device.Device{first, down, second}}, "mlx5_2", ""},
		{"it is gone, the other cannot be opened", device.Report{Reason: device.DevicesReady, Devices: []device.Device{first}}, "", rdma.NoDevice},
		{"none is left", device.Report{Reason: device.NoDeviceGranted}, "", rdma.NoDevice},
	} {
		s.heed(step.seen)
		if got := s.Status(); got.Device != step.open || got.Why == nil != (step.why == "") || got.Why != nil && rdma.ReasonOf(got.Why) != step.why {
			t.Errorf("%s: %q, %v", step.name, got.Device, got.Why)
		}
	}
	r.do(s.Close())
	s.heed(device.Report{Reason: device.DevicesReady, Devices: []device.Device{second}})
	if got := s.Status(); got.Device != "" {
		t.Errorf("a keeper that is closed has opened %q", got.Device)
	}
}
