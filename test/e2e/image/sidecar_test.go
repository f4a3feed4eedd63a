//go:build linux

package main

import (
	"net/netip"
	"os"
	"testing"

	rdma "rpcpool.dev/rpc/rdma/device"
)

// TestASidecarBelievesTheFakes: with what the plugin hands out and writes, it finds
// a device that it can use, if the port has the pod's address.
func TestASidecarBelievesTheFakes(t *testing.T) {
	sys, dev := t.TempDir(), t.TempDir()
	if os.Getuid() != 0 {
		t.Skip("only root makes devices")
	}
	if o := execute("deviceplugin", "make", "--devices", "0000:3b:00.2,0000:3b:00.3", "--dev", dev, "--fake-sysfs", sys); o.status != exitOK {
		t.Fatal(o)
	}
	host := rdma.Host{
		Sys: sys, Dev: dev,
		Environ:   func() []string { return []string{"PCIDEVICE_OPENSHIFT_IO_RDMA_VF=0000:3b:00.3"} },
		Addresses: func() ([]rdma.Address, error) { return []rdma.Address{{Addr: netip.MustParseAddr("10.99.1.7")}}, nil },
		Lock:      func(uint64) error { return nil },
	}
	want := rdma.Want{Resource: "openshift.io/rdma_vf", Count: 1}
	if report := host.Check(want); report.Reason != rdma.NoGID {
		t.Errorf("without the pod's address: %+v", report)
	}
	if o := execute("deviceplugin", "set-port", "0000:3b:00.3", "active", "--fake-sysfs", sys, "--ip", "10.99.1.7"); o.status != exitOK {
		t.Fatal(o)
	}
	report := host.Check(want)
	if report.Reason != rdma.DevicesReady || len(report.Devices) != 1 || report.Devices[0].Name != "mlx5_1" || report.Devices[0].GID != 3 {
		t.Errorf("with it: %+v", report)
	}
	if o := execute("deviceplugin", "set-port", "0000:3b:00.3", "down", "--fake-sysfs", sys, "--ip", "10.99.1.7"); o.status != exitOK {
		t.Fatal(o)
	}
	if report := host.Check(want); report.Reason != rdma.PortDown {
		t.Errorf("without a link: %+v", report)
	}
}
