// Package fakehost is a machine with an RDMA device, made up of files, for tests: what
// package device looks at, and a device of package fakeverbs that is what these say.
//
//	fabric := fakeverbs.New()
//	m, err := fakehost.New(t.TempDir(), fabric, "mlx5_4", "10.0.0.5")
//	k, err := keeper.Open(keeper.Options{
//		Promise: device.Promise{Mode: device.Auto, Host: m.Host()},
//		Load:    func() (verbs.Driver, error) { return fabric, nil },
//	})
//	m.Port(false)
package fakehost

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/rpc/rdma/fakeverbs"
	"rpcpool.dev/rpc/rdma/verbs"
)

// Resource is the resource that the container was granted the device of.
const Resource = "openshift.io/rdma_vf"

const (
	address = "0000:3b:00.3"
	pci     = "sys/bus/pci/devices/" + address
	node    = "dev/infiniband/uverbs4"
)

// Machine is one, with at most one device. It is not safe for concurrent use.
type Machine struct {
	root, name string
	fabric     *fakeverbs.Fabric
	addr       netip.Addr
	nic        *fakeverbs.NIC
}

// New makes a machine in an empty directory, with a device that works and has this address.
func New(root string, fabric *fakeverbs.Fabric, name, addr string) (*Machine, error) {
	m := &Machine{root: root, name: name, fabric: fabric}
	var err error
	if m.addr, err = netip.ParseAddr(addr); err != nil {
		return nil, fmt.Errorf("fake host: %w", err)
	}
	if err := m.write("proc/self/status", "CapEff:\t0000000000004000"); err != nil {
		return nil, err
	}
	return m, m.Plug()
}

// Host is where package device looks at the machine.
func (m *Machine) Host() device.Host {
	return device.Host{
		Sys: filepath.Join(m.root, "sys"), Dev: filepath.Join(m.root, "dev"), Proc: filepath.Join(m.root, "proc"),
		Environ:   func() []string { return []string{"PCIDEVICE_OPENSHIFT_IO_RDMA_VF=" + address} },
		Addresses: func() ([]device.Address, error) { return []device.Address{{Addr: m.addr}}, nil },
		Memlock:   func() (uint64, error) { return 8 << 20, nil },
		Lock:      func(uint64) error { return nil },
		Netns:     func() device.Netns { return device.NetnsShared },
	}
}

// NIC is the device.
func (m *Machine) NIC() *fakeverbs.NIC { return m.nic }

// Plug brings a new device in, of the old one's name.
func (m *Machine) Plug() error {
	gid := verbs.GID(m.addr.As16())
	m.nic = m.fabric.Add(m.name, gid)
	rdma := pci + "/infiniband/" + m.name + "/ports/1"
	for path, text := range map[string]string{
		pci + "/infiniband_verbs/uverbs4/ibdev": m.name,
		rdma + "/link_layer":                    "Ethernet",
		rdma + "/gids/0":                        netip.AddrFrom16(gid).StringExpanded(),
		rdma + "/gid_attrs/types/0":             "RoCE v2",
		rdma + "/state":                         "4: ACTIVE",
	} {
		if err := m.write(path, text); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(m.root, "dev/infiniband"), 0o755); err != nil {
		return err //nolint:wrapcheck // it names the path
	}
	return os.Symlink("/dev/null", filepath.Join(m.root, node)) //nolint:wrapcheck // it names the path
}

// Unplug takes the device away, with all that is open of it.
func (m *Machine) Unplug() error {
	m.nic.Kill()
	for _, path := range []string{pci + "/infiniband", pci + "/infiniband_verbs", node} {
		if err := os.RemoveAll(filepath.Join(m.root, path)); err != nil {
			return err //nolint:wrapcheck // it names the path
		}
	}
	return nil
}

// Port takes the device's port up or down.
func (m *Machine) Port(up bool) error {
	m.nic.Change(func(n *fakeverbs.NIC) { n.Port.Active = up })
	state := "1: DOWN"
	if up {
		state = "4: ACTIVE"
	}
	return m.write(pci+"/infiniband/"+m.name+"/ports/1/state", state)
}

// write replaces a file at once, as readers of sysfs see it.
func (m *Machine) write(path, text string) error {
	path = filepath.Join(m.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err //nolint:wrapcheck // it names the path
	}
	if err := os.WriteFile(path+".new", []byte(text+"\n"), 0o600); err != nil {
		return err //nolint:wrapcheck // it names the path
	}
	return os.Rename(path+".new", path) //nolint:wrapcheck // it names the path
}
