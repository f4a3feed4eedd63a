package fakehost

import (
	"os"
	"path/filepath"
	"testing"

	"rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/rpc/rdma/fakeverbs"
)

// TestPackageDeviceSeesWhatIsDoneToTheMachine, and so does who has the device open.
func TestPackageDeviceSeesWhatIsDoneToTheMachine(t *testing.T) {
	fabric := fakeverbs.New()
	m, err := New(t.TempDir(), fabric, "mlx5_4", "10.0.0.5")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		do   func() error
		want device.Reason
	}{
		{func() error { return nil }, device.DevicesReady},
		{func() error { return m.Port(false) }, device.PortDown},
		{func() error { return m.Port(true) }, device.DevicesReady},
		{m.Unplug, device.NoRDMADevice},
		{m.Plug, device.DevicesReady},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if r := m.Host().Check(device.Want{Resource: Resource, Count: 1}); r.Reason != step.want {
			t.Errorf("%s: %s, want %s", r.Reason, r.Message, step.want)
		}
		d, err := fabric.Open("mlx5_4")
		if err != nil {
			t.Fatal(err)
		}
		if p, err := d.Port(1); (err == nil && p.Active) != (step.want == device.DevicesReady) {
			t.Errorf("%s: the device says %+v, %v", step.want, p, err)
		}
	}
}

func TestAMachineThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for root, addr := range map[string]string{t.TempDir(): "nowhere", file: "10.0.0.5"} {
		if m, err := New(root, fakeverbs.New(), "mlx5_4", addr); err == nil {
			t.Errorf("%+v, no error", m)
		}
	}
}
