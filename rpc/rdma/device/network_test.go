package device

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// attached is what a CNI plugin writes of an interface that it made of a function.
func attached(network, netdev, address, ips string) string {
	return fmt.Sprintf(`{"name":%q,"interface":%q,"ips":[%s],"mac":"c2:b0:57:49:47:f1","dns":{},"device-info":{"type":"pci","version":"1.1.0","pci":{"pci-address":%q,"rdma-device":"mlx5_9"}}}`,
		network, netdev, ips, address)
}

const cluster = `{"name":"cbr0","interface":"eth0","ips":["10.244.1.5"],"default":true,"dns":{}}`

// TestTheNetworkTellsWhichAddressIsWhose: two functions whose tables have each other's
// addresses, as macvlan makes them, and networks in another order than the devices.
// TestATableIsReadAsFarAsItMatters: no row is better than one of the interface that has the
// address, and tables have hundreds.
func TestATableIsReadAsFarAsItMatters(t *testing.T) {
	m := newMachine(t)
	dir := filepath.Join(m.root, pci(vf, "infiniband/mlx5_4/ports/1"))
	m.gid(vf, "mlx5_4", 5, podIP, "RoCE v2", "net2")
	addr := netip.MustParseAddr("10.0.0.5")
	for netdev, rows := range map[string]int{"net1": 4, "": 5, "net3": 5} {
		if p := m.host.port(dir, 1, []Address{{addr, netdev}}); len(p.gids) != rows {
			t.Errorf("address of %q: %d rows were read, want %d", netdev, len(p.gids), rows)
		}
	}
}

func TestTheNetworkTellsWhichAddressIsWhose(t *testing.T) {
	const second = "0000:0000:0000:0000:0000:ffff:0a01:0005" // 10.1.0.5
	for what, tc := range map[string]struct {
		status string
		want   Reason
		says   string
	}{
		"an address for each": {
			"[" + cluster + "," + attached("a/blue", "net1", vf, `"10.1.0.5"`) + "," + attached("a/red", "net2", other, `"10.0.0.5/24","fd00::5"`) + "]", DevicesReady,
			other + " (mlx5_3): port 1, GID 3 10.0.0.5 on net1, MTU 1024; " + vf + " (mlx5_4): port 1, GID 5 10.1.0.5 on net2, MTU 4096",
		},
		"by the RDMA device's name": {
			`[{"name":"a/blue","interface":"net2","ips":["10.1.0.5"],"device-info":{"type":"pci","pci":{"rdma-device":"mlx5_7,mlx5_4"}}}]`, DevicesReady,
			other + " (mlx5_3): port 1, GID 3 10.0.0.5 on net1, MTU 1024; " + vf + " (mlx5_4): port 1, GID 5 10.1.0.5 on net2, MTU 4096",
		},
		"a network without addresses": {
			"[" + attached("a/blue", "net1", vf, "") + "]", NoGID,
			vf + " (mlx5_4): port 1 has no RoCE v2 GID that is an address of a/blue on net1: none is known",
		},
		"an address that is not in the table yet": {
			"[" + attached("a/blue", "net1", vf, `"10.9.0.1"`) + "]", NoGID,
			vf + " (mlx5_4): port 1 has no RoCE v2 GID that is an address of a/blue on net1: 10.9.0.1",
		},
		"networks of no device": {
			"[" + cluster + "]", DevicesReady,
			other + " (mlx5_3): port 1, GID 3 10.0.0.5 on net1, MTU 1024; " + vf + " (mlx5_4): port 1, GID 3 10.0.0.5 on net1, MTU 1024",
		},
		"nothing yet": {
			"\n", DevicesReady,
			other + " (mlx5_3): port 1, GID 3 10.0.0.5 on net1, MTU 1024; " + vf + " (mlx5_4): port 1, GID 3 10.0.0.5 on net1, MTU 1024",
		},

		"nonsense": {"{", BadDeviceInfo, "annotation k8s.v1.cni.cncf.io/network-status: not a list of networks: unexpected end of JSON input"},
		"an address that is none": {
			"[" + attached("a/blue", "net1", vf, `"here"`) + "]", BadDeviceInfo, `annotation k8s.v1.cni.cncf.io/network-status: network "a/blue": "here" is not an address`,
		},
		"too many networks": {
			"[" + strings.Repeat("{},", 64) + "{}]", BadDeviceInfo, "annotation k8s.v1.cni.cncf.io/network-status: 65 networks: want at most 64",
		},
		"too much": {strings.Repeat(" ", 70000), BadDeviceInfo, "annotation k8s.v1.cni.cncf.io/network-status: more than 65536 bytes"},
	} {
		t.Run(what, func(t *testing.T) {
			m := newMachine(t)
			m.env[variable] = vf + "," + other
			m.device(other, "mlx5_3", 3)
			m.gid(vf, "mlx5_4", 5, second, "RoCE v2", "net2")
			m.gid(other, "mlx5_3", 5, second, "RoCE v2", "net2")
			m.write("sys/class/net/net2/mtu", "9000")
			m.write("network-status", tc.status)
			got := m.host.Check(Want{Resource: resource, Count: 2})
			if got.Reason != tc.want || got.Message != tc.says {
				t.Errorf("%s: %s\nwant %s: %s", got.Reason, got.Message, tc.want, tc.says)
			}
		})
	}
}

// TestNetworksWithTheSameAddress: the table of a card has those of other pods'
// interfaces, too.
func TestNetworksWithTheSameAddress(t *testing.T) {
	m := newMachine(t)
	m.own = []string{"10.0.0.5/net7", "fd00::5/net1"}
	m.gid(vf, "mlx5_4", 5, podIP, "RoCE v2", "net7")
	m.gid(vf, "mlx5_4", 6, "fd00:0000:0000:0000:0000:0000:0000:0005", "RoCE v2", "net1")
	if got := m.host.Check(Want{Resource: resource}); got.Message != vf+" (mlx5_4): port 1, GID 5 10.0.0.5 on net7" {
		t.Errorf("%s: %s", got.Reason, got.Message)
	}
}

// TestAnEngineLooksAgain: between two connects a GID moves, the address goes, the link
// goes, the device goes.
func TestAnEngineLooksAgain(t *testing.T) {
	m := newMachine(t)
	d := m.host.Check(Want{Resource: resource}).Devices[0]
	for _, step := range []struct {
		what   string
		change func()
		want   Reason
		gid    int
	}{
		{"as it was", func() {}, DevicesReady, 3},
		{"another index", func() {
			m.gid(vf, "mlx5_4", 3, podIP, "IB/RoCE v1", "net1")
			m.gid(vf, "mlx5_4", 9, podIP, "RoCE v2", "net1")
		}, DevicesReady, 9},
		{"nonsense of the network", func() { m.write("network-status", "{") }, BadDeviceInfo, 0},
		{"another address of the network", func() { m.write("network-status", "["+attached("a", "net1", vf, `"10.5.5.5"`)+"]") }, NoGID, 0},
		{"its own again", func() { m.write("network-status", "["+attached("a", "net1", vf, `"10.0.0.5"`)+"]") }, DevicesReady, 9},
		{"a port that is down", func() { m.port(vf, "mlx5_4", 1, "1: DOWN", "Ethernet") }, PortDown, 0},
		{"no device", func() { m.remove(pci(vf, "infiniband")) }, NoRDMADevice, 0},
	} {
		step.change()
		now, err := m.host.Refresh(d)
		var fault *Fault
		switch {
		case step.want == DevicesReady && (err != nil || now.GID != step.gid || now.PCI != vf || now.Name != "mlx5_4"):
			t.Errorf("%s: %+v, %v", step.what, now, err)
		case step.want != DevicesReady && (!errors.As(err, &fault) || fault.Reason != step.want || !strings.HasPrefix(err.Error(), string(step.want)+": ")):
			t.Errorf("%s: %v, want %s", step.what, err, step.want)
		}
	}
}

// soft adds a device of soft-RoCE, which is on no bus.
func (m *machine) soft(name string, number int) {
	m.t.Helper()
	m.link("sys/class/infiniband/"+name, "../../devices/virtual/infiniband/"+name)
	m.write(fmt.Sprintf("sys/class/infiniband_verbs/uverbs%d/ibdev", number), name)
	dir := "sys/devices/virtual/infiniband/" + name + "/ports/1/"
	for file, text := range map[string]string{
		"state": "4: ACTIVE", "link_layer": "Ethernet", "lid": "0x0",
		"gids/0": podIP, "gid_attrs/types/0": "RoCE v2", "gid_attrs/ndevs/0": "net1",
	} {
		m.write(dir+file, text)
	}
	m.link(fmt.Sprintf("dev/infiniband/uverbs%d", number), "/dev/null")
}

// class makes a function's device known by its class, as Linux does.
func (m *machine) class(address, name string, number int) {
	m.t.Helper()
	m.link("sys/class/infiniband/"+name, "../../bus/pci/devices/"+address+"/infiniband/"+name)
	verbs := fmt.Sprintf("uverbs%d", number)
	m.link("sys/class/infiniband_verbs/"+verbs, "../../bus/pci/devices/"+address+"/infiniband_verbs/"+verbs)
	m.link(pci(address, "infiniband_verbs/"+verbs+"/device"), "../..")
}

// TestWithoutAResourcesName: whatever a process was given is what it can use, and what
// sysfs shows beside that is somebody else's.
func TestWithoutAResourcesName(t *testing.T) {
	const pf, third = "0000:3b:00.0", "0000:3b:00.4"
	for what, tc := range map[string]struct {
		change func(*machine)
		count  int
		want   []string // names of devices
		reason Reason
	}{
		"two resources, and a device of something else": {func(m *machine) {
			m.env["PCIDEVICE_INTEL_COM_A"] = other
			m.env["PCIDEVICE_INTEL_COM_GPU"] = "accelerator-0"
		}, 2, []string{"mlx5_3", "mlx5_4"}, DevicesReady},
		"the driver of dynamic resource allocation": {func(m *machine) {
			clear(m.env)
			m.env["SRIOVNETWORK_VF_DEVICE_0000_3b_00_2"] = other
			m.env["SRIOVNETWORK_NET_ATTACH_DEF_NAME"] = "net"
		}, 1, []string{"mlx5_3"}, DevicesReady},
		"nobody's variable": {func(m *machine) {
			clear(m.env)
			m.remove("dev/infiniband/uverbs3") // the container has not got it
		}, 1, []string{"mlx5_4"}, DevicesReady},
		"soft-RoCE": {func(m *machine) {
			clear(m.env)
			m.remove("dev/infiniband/uverbs3")
			m.remove("dev/infiniband/uverbs4")
			m.soft("rxe0", 7)
		}, 1, []string{"rxe0"}, DevicesReady},
		"fewer than wanted": {func(*machine) {}, 2, []string{"mlx5_4"}, NoDeviceGranted},
		"nothing": {func(m *machine) {
			clear(m.env)
			m.remove("dev")
		}, 1, nil, NoDeviceGranted},
	} {
		t.Run(what, func(t *testing.T) {
			m := newMachine(t)
			m.device(other, "mlx5_3", 3)
			m.device(pf, "mlx5_0", 0) // the physical function is the host's
			m.device(third, "mlx5_5", 5)
			m.remove("dev/infiniband/uverbs0")
			m.remove("dev/infiniband/uverbs5")
			for address, number := range map[string]int{pf: 0, other: 3, vf: 4, third: 5} {
				m.class(address, fmt.Sprintf("mlx5_%d", number), number)
			}
			tc.change(m)
			got := m.host.Check(Want{Count: tc.count})
			var names []string
			for _, d := range got.Devices {
				names = append(names, d.Name)
				if now, err := m.host.Refresh(d); err != nil || now != d {
					t.Errorf("%s again: %+v, %v", d.Name, now, err)
				}
			}
			if got.Reason != tc.reason || !slices.Equal(names, tc.want) {
				t.Errorf("%s: %s; %q, want %s %q", got.Reason, got.Message, names, tc.reason, tc.want)
			}
		})
	}
}

func (m *machine) link(path, target string) {
	m.t.Helper()
	m.write(path, "")
	m.remove(path)
	if err := os.Symlink(target, m.root+"/"+path); err != nil {
		m.t.Fatal(err)
	}
}

func TestInfiniBandHasALID(t *testing.T) {
	m := newMachine(t)
	m.port(vf, "mlx5_4", 1, "4: ACTIVE", "InfiniBand")
	m.write(pci(vf, "infiniband/mlx5_4/ports/1/lid"), "0x1f\n")
	if got := m.host.Check(Want{Resource: resource}).Devices[0]; got.LID != 31 || got.GID != 0 || got.Err() != nil {
		t.Errorf("%+v", got)
	}
}

func FuzzNetworkStatus(f *testing.F) {
	f.Add([]byte("[" + cluster + "," + attached("a/red", "net1", vf, `"10.0.0.5/24","fd00::5"`) + "]"))
	f.Add([]byte(`[{"ips":["fe80::1%eth0"],"device-info":{"pci":{"rdma-device":",,"}}}]`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := parseStatus(text)
		if err != nil {
			if all != nil {
				t.Fatalf("%v, and %v", err, all)
			}
			return
		}
		if len(all) > maxNetworks {
			t.Fatalf("%d networks", len(all))
		}
		d := seenDevice{Grant: Grant{Address: vf}, name: "mlx5_4"}
		if d.attached = all.of(&d); d.attached == nil {
			return
		}
		for _, a := range d.addresses() {
			if !a.Addr.IsGlobalUnicast() || a.Addr.Is4In6() || a.Addr.Zone() != "" || a.Netdev != d.attached.netdev {
				t.Fatalf("address %+v", a)
			}
		}
	})
}
