package device

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(childVariable); what != "" {
		tryLocking(what)
		return
	}
	goleak.VerifyTestMain(m)
}

const (
	vf       = "0000:3b:00.3"
	other    = "0000:3b:00.2"
	resource = "openshift.io/rdma_vf"
	variable = "PCIDEVICE_OPENSHIFT_IO_RDMA_VF"
	podIP    = "0000:0000:0000:0000:0000:ffff:0a00:0005" // 10.0.0.5, as a GID
)

// machine is a made-up sysfs, /dev and /proc, and the environment of a container.
type machine struct {
	t    *testing.T
	root string
	env  map[string]string
	own  []string
	host Host

	netns Netns
}

// newMachine has one working device of RoCE in the pod's network.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir(), env: map[string]string{}, own: []string{"127.0.0.1", "fe80::1", "10.244.1.5", "10.0.0.5"}}
	m.host = Host{
		Sys: filepath.Join(m.root, "sys"), Dev: filepath.Join(m.root, "dev"), Proc: filepath.Join(m.root, "proc"),
		NetworkStatus: filepath.Join(m.root, "network-status"),
		Environ:       m.environ,
		Memlock:       func() (uint64, error) { return 8 << 20, nil },
		Lock:          func(uint64) error { return syscall.ENOSYS }, // a kernel that is too old to be asked
		Netns:         func() Netns { return m.netns },
		Addresses:     m.addresses,
	}
	m.write("proc/self/status", "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000000004000\n")
	m.write("sys/class/net/net1/mtu", "1500\n")
	m.env[variable] = vf
	m.env[variable+"_INFO"] = info(vf, "mlx5_4", 4)
	m.device(vf, "mlx5_4", 4)
	return m
}

// info is what the plugin's code writes for a device.
func info(address, device string, number int) string {
	return fmt.Sprintf(`{%q:{"extra":{"rail":"1"},"generic":{"deviceID":%q},"rdma":{"issm":"/dev/infiniband/issm%d","rdma_cm":"/dev/infiniband/rdma_cm","rdma_dev":%q,"uverbs":"/dev/infiniband/uverbs%d","umad":"/dev/infiniband/umad%d"}}}`,
		address, address, number, device, number, number)
}

func (m *machine) environ() (list []string) {
	for name, value := range m.env {
		list = append(list, name+"="+value)
	}
	return list
}

// addresses are the pod's, each with the interface that has it after a slash.
func (m *machine) addresses() (list []Address, _ error) {
	for _, a := range m.own {
		addr, netdev, _ := strings.Cut(a, "/")
		list = append(list, Address{netip.MustParseAddr(addr), netdev})
	}
	return list, nil
}

func (m *machine) write(path, text string) {
	m.t.Helper()
	path = filepath.Join(m.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) remove(path string) {
	m.t.Helper()
	if err := os.RemoveAll(filepath.Join(m.root, path)); err != nil {
		m.t.Fatal(err)
	}
}

// pci is the path of a device's directory, in the machine.
func pci(address, path string) string { return filepath.Join("sys/bus/pci/devices", address, path) }

// device adds one that works: an Ethernet port, and a table of GIDs as drivers
// make it.
func (m *machine) device(address, name string, number int) {
	m.t.Helper()
	m.write(pci(address, fmt.Sprintf("infiniband_verbs/uverbs%d/ibdev", number)), name+"\n")
	m.port(address, name, 1, "4: ACTIVE", "Ethernet")
	m.gid(address, name, 0, "fe80:0000:0000:0000:0a58:0aff:fe00:0005", "IB/RoCE v1", "net1")
	m.gid(address, name, 1, "fe80:0000:0000:0000:0a58:0aff:fe00:0005", "RoCE v2", "net1")
	m.gid(address, name, 2, podIP, "IB/RoCE v1", "net1")
	m.gid(address, name, 3, podIP, "RoCE v2", "net1")
	m.gid(address, name, 4, "0000:0000:0000:0000:0000:0000:0000:0000", "", "")
	dev := filepath.Join(m.root, "dev/infiniband")
	if err := os.MkdirAll(dev, 0o755); err != nil {
		m.t.Fatal(err)
	}
	// A character device that anybody may open stands for the node.
	if err := os.Symlink("/dev/null", filepath.Join(dev, fmt.Sprintf("uverbs%d", number))); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) port(address, name string, number int, state, link string) {
	m.t.Helper()
	dir := pci(address, fmt.Sprintf("infiniband/%s/ports/%d", name, number))
	m.write(dir+"/state", state+"\n")
	m.write(dir+"/link_layer", link+"\n")
}

func (m *machine) gid(address, name string, index int, gid, kind, netdev string) {
	m.t.Helper()
	dir := pci(address, "infiniband/"+name+"/ports/1")
	m.write(fmt.Sprintf("%s/gids/%d", dir, index), gid+"\n")
	if kind != "" {
		m.write(fmt.Sprintf("%s/gid_attrs/types/%d", dir, index), kind+"\n")
		m.write(fmt.Sprintf("%s/gid_attrs/ndevs/%d", dir, index), netdev+"\n")
	}
}

// none empties the table of GIDs.
func (m *machine) none() { m.remove(pci(vf, "infiniband/mlx5_4/ports/1/gids")) }

func TestWhatIsTrueOfTheDevices(t *testing.T) {
	const name = vf + " (mlx5_4): "
	for what, tc := range map[string]struct {
		change func(*machine)
		want   Reason
		says   string // the message; the end of it after "…"
	}{
		"a device that works": {
			func(*machine) {}, DevicesReady, name + "port 1, GID 3 10.0.0.5 on net1, MTU 1024",
		},
		"jumbo frames": {
			func(m *machine) { m.write("sys/class/net/net1/mtu", "9000") }, DevicesReady, name + "port 1, GID 3 10.0.0.5 on net1, MTU 4096",
		},
		"an interface that cannot be seen": {
			func(m *machine) {
				m.remove("sys/class/net")
				m.remove(pci(vf, "infiniband/mlx5_4/ports/1/gid_attrs/ndevs"))
			},
			DevicesReady, name + "port 1, GID 3 10.0.0.5",
		},
		"an interface whose packets are too small for RDMA": {
			func(m *machine) { m.write("sys/class/net/net1/mtu", "300") }, MTUTooSmall, name + "port 1: packets of net1 have 300 bytes, RDMA needs 352",
		},
		"a pod with IPv6 alone": {
			func(m *machine) {
				m.own = []string{"fd00::5"}
				m.gid(vf, "mlx5_4", 5, "fd00:0000:0000:0000:0000:0000:0000:0005", "RoCE v2", "net1")
			},
			DevicesReady, name + "port 1, GID 5 fd00::5 on net1, MTU 1024",
		},
		"both: IPv4 comes first, wherever it is": {
			func(m *machine) {
				m.own = append(m.own, "fd00::5")
				m.gid(vf, "mlx5_4", 2, "fd00:0000:0000:0000:0000:0000:0000:0005", "RoCE v2", "net1")
			},
			DevicesReady, name + "port 1, GID 3 10.0.0.5 on net1, MTU 1024",
		},
		"a plugin that says no more than addresses": {
			func(m *machine) { delete(m.env, variable+"_INFO") }, DevicesReady, name + "port 1, GID 3 10.0.0.5 on net1, MTU 1024",
		},
		"a plugin to which the device was hidden": {
			func(m *machine) { m.env[variable+"_INFO"] = `{"` + vf + `":{"generic":{"deviceID":"` + vf + `"}}}` },
			DevicesReady, name + "port 1, GID 3 10.0.0.5 on net1, MTU 1024",
		},
		"a sysfs that does not tell which node it is": {
			func(m *machine) { m.remove(pci(vf, "infiniband_verbs")) }, DevicesReady, name + "port 1, GID 3 10.0.0.5 on net1, MTU 1024",
		},
		"a function of two RDMA devices, of which the plugin names one": {
			func(m *machine) { m.port(vf, "bond_0", 1, "1: DOWN", "Ethernet") },
			DevicesReady, name + "port 1, GID 3 10.0.0.5 on net1, MTU 1024",
		},
		"InfiniBand": {
			func(m *machine) {
				m.port(vf, "mlx5_4", 1, "4: ACTIVE", "InfiniBand")
				m.gid(vf, "mlx5_4", 0, "fe80:0000:0000:0000:0002:c903:0029:7e01", "IB/RoCE v1", "")
			},
			DevicesReady, name + "port 1, GID 0 fe80::2:c903:29:7e01",
		},
		"a device whose second port is the one that works": {
			func(m *machine) {
				m.port(vf, "mlx5_4", 1, "1: DOWN", "Ethernet")
				m.port(vf, "mlx5_4", 2, "4: ACTIVE", "Ethernet")
				m.write(pci(vf, "infiniband/mlx5_4/ports/2/gids/0"), podIP)
				m.write(pci(vf, "infiniband/mlx5_4/ports/2/gid_attrs/types/0"), "RoCE v2")
			},
			DevicesReady, name + "port 2, GID 0 10.0.0.5",
		},
		"a limit that is high enough without the capability": {
			func(m *machine) { m.powerless(); m.host.Memlock = func() (uint64, error) { return MinLocked, nil } },
			DevicesReady, name + "port 1, GID 3 10.0.0.5 on net1, MTU 1024",
		},
		"two devices, in no order": {
			func(m *machine) { m.env[variable] = vf + "," + other; m.device(other, "mlx5_3", 3) }, DevicesReady,
			other + " (mlx5_3): port 1, GID 3 10.0.0.5 on net1, MTU 1024; " + name + "port 1, GID 3 10.0.0.5 on net1, MTU 1024",
		},

		"no variable": {
			func(m *machine) { clear(m.env) }, NoDeviceGranted, "no device of openshift.io/rdma_vf was granted: " + variable + " is not set",
		},
		"an empty variable": {
			func(m *machine) { m.env[variable] = "" }, BadDeviceInfo, variable + `: "" is not a PCI address`,
		},
		"nonsense": {
			func(m *machine) { m.env[variable+"_INFO"] = "{" }, BadDeviceInfo, variable + ": _INFO: not what the plugin writes: unexpected end of JSON input",
		},

		"no such function": {
			func(m *machine) { m.remove("sys/bus") }, NoRDMADevice, vf + ": this machine has no such PCI device",
		},
		"a function whose device is in no namespace of ours": {
			func(m *machine) { m.remove(pci(vf, "infiniband")); m.netns = NetnsExclusive }, OtherNamespace,
			vf + ": it has no RDMA device in this network namespace, and namespaces share none here: the pod's network must bring it in, by the CNI plugin rdma",
		},
		"a function without RDMA, where namespaces share devices": {
			func(m *machine) { m.remove(pci(vf, "infiniband")); m.netns = NetnsShared }, NoRDMADevice, "…in another network namespace",
		},
		"a function without RDMA": {
			func(m *machine) { m.remove(pci(vf, "infiniband")) }, NoRDMADevice,
			vf + ": it has no RDMA device here: it has no driver for RDMA, or that device is in another network namespace",
		},

		"no node, by anybody's word": {
			func(m *machine) { m.remove(pci(vf, "infiniband_verbs")); delete(m.env, variable+"_INFO") },
			NoDeviceNode, name + "it has no uverbs device",
		},
		"a node that the container does not have": {
			func(m *machine) { m.remove("dev") }, NoDeviceNode, name + "/dev/infiniband/uverbs4 cannot be opened: no such file or directory",
		},
		"a node that is a file": {
			func(m *machine) { m.remove("dev/infiniband/uverbs4"); m.write("dev/infiniband/uverbs4", "") },
			NoDeviceNode, name + "/dev/infiniband/uverbs4 cannot be opened: it is not a device",
		},
		"a driver that was loaded anew, after which the node is another device's": {
			func(m *machine) {
				m.remove(pci(vf, "infiniband_verbs"))
				m.write(pci(vf, "infiniband_verbs/uverbs7/ibdev"), "mlx5_4")
			},
			NoDeviceNode, name + "the container was given /dev/infiniband/uverbs4, and the device is /dev/infiniband/uverbs7 now: the pod must be made anew",
		},

		"no port": {
			func(m *machine) { m.remove(pci(vf, "infiniband/mlx5_4/ports")) }, PortDown, name + "it has no port",
		},
		"a port whose link is down": {
			func(m *machine) { m.port(vf, "mlx5_4", 1, "1: DOWN", "Ethernet") }, PortDown, name + "port 1 is DOWN, not ACTIVE",
		},
		"a port that does not tell": {
			func(m *machine) { m.remove(pci(vf, "infiniband/mlx5_4/ports/1/state")) }, PortDown,
			name + "port 1 is in a state that cannot be read, not ACTIVE",
		},
		"InfiniBand without a subnet manager": {
			func(m *machine) { m.port(vf, "mlx5_4", 1, "2: INIT", "InfiniBand") }, PortDown, name + "port 1 is INIT, not ACTIVE",
		},

		"an address in no table": {
			func(m *machine) { m.own = []string{"10.9.9.9", "10.244.1.5", "10.9.9.9"} }, NoGID,
			name + "port 1 has no RoCE v2 GID that is one of the pod's addresses: 10.9.9.9, 10.244.1.5",
		},
		"addresses of this machine and of this link alone": {
			func(m *machine) { m.own = []string{"127.0.0.1", "fe80::a58:aff:fe00:5%net1"} }, NoGID,
			name + "port 1 has no RoCE v2 GID that is one of the pod's addresses: none is known",
		},
		"addresses that cannot be read": {
			func(m *machine) {
				m.host.Addresses = func() ([]Address, error) { return nil, errors.New("netlink") }
			}, NoGID,
			"…none is known",
		},
		"many addresses": {
			func(m *machine) {
				m.own = []string{"10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4", "10.0.1.5", "10.0.1.6"}
			}, NoGID,
			"…10.0.1.1, 10.0.1.2, 10.0.1.3, 10.0.1.4, 2 more",
		},
		"a table that is empty on InfiniBand": {
			func(m *machine) { m.port(vf, "mlx5_4", 1, "4: ACTIVE", "InfiniBand"); m.none() }, NoGID, name + "port 1 has no GID",
		},
		"one port down, and one without the address": {
			func(m *machine) {
				m.port(vf, "mlx5_4", 1, "1: DOWN", "Ethernet")
				m.port(vf, "mlx5_4", 2, "4: ACTIVE", "Ethernet")
			}, NoGID, "…port 2 has no RoCE v2 GID that is one of the pod's addresses: 10.0.0.5, 10.244.1.5",
		},

		"a user for whom IPC_LOCK is of no effect": {
			func(m *machine) { m.powerless() }, MemlockTooSmall,
			"at most 8192 KiB of memory may be locked, 65536 KiB are needed, and IPC_LOCK is not in effect (of a user that is not root it never is)",
		},
		"a user for whom a lock is refused, by the kernel's own word": {
			func(m *machine) { m.powerless(); m.host.Lock = func(uint64) error { return syscall.ENOMEM } }, MemlockTooSmall,
			"at most 8192 KiB of memory may be locked, 65536 KiB are needed, and IPC_LOCK is not in effect (of a user that is not root it never is)",
		},
		"a capability that counts for nothing": {
			func(m *machine) { m.host.Lock = func(uint64) error { return syscall.ENOMEM } }, MemlockTooSmall,
			"65536 KiB of memory cannot be locked although IPC_LOCK is in effect: cannot allocate memory (in a user namespace of the pod's own the capability is of no use)",
		},
		"a lock that is refused whatever the limit is": {
			func(m *machine) {
				m.powerless()
				m.host.Memlock = func() (uint64, error) { return 1 << 30, nil }
				m.host.Lock = func(uint64) error { return syscall.EPERM }
			}, MemlockTooSmall,
			"65536 KiB of memory cannot be locked although the limit is 1048576 KiB: operation not permitted",
		},
		"a container with less memory than is to be pinned": {
			func(m *machine) {
				m.write("proc/self/cgroup", "0::/\n")
				m.write("sys/fs/cgroup/memory.max", "67104768\n")
			}, MemlockTooSmall,
			"65536 KiB of memory are to be pinned, and the container may have 65532 KiB in all (the memory limit of its control group)",
		},
		"a limit further up, of version 1": {
			func(m *machine) {
				m.write("proc/self/cgroup", "3:cpu,cpuacct:/pod/one\n2:memory:/pod/one\n")
				m.write("sys/fs/cgroup/memory/pod/one/memory.limit_in_bytes", "9223372036854771712\n")
				m.write("sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "33554432\n")
			}, MemlockTooSmall, "…the container may have 32768 KiB in all (the memory limit of its control group)",
		},
		"a container with as much memory as is to be pinned, and none further up": {
			func(m *machine) {
				m.write("proc/self/cgroup", "0::/pod\n")
				m.write("sys/fs/cgroup/memory.max", "max\n")
				m.write("sys/fs/cgroup/pod/memory.max", "67108864\n")
			}, DevicesReady, name + "port 1, GID 3 10.0.0.5 on net1, MTU 1024",
		},
		"no verbs library": {
			func(m *machine) { m.host.Library = func() error { return errors.New("libibverbs.so.1: not found") } }, NoLibrary, "libibverbs.so.1: not found",
		},
		"a verbs library": {
			func(m *machine) { m.host.Library = func() error { return nil } }, DevicesReady, name + "port 1, GID 3 10.0.0.5 on net1, MTU 1024",
		},
		"a limit that cannot be read": {
			func(m *machine) { m.host.Memlock = func() (uint64, error) { return 0, errors.New("getrlimit: no") } },
			MemlockTooSmall, "how much memory may be locked is not known: getrlimit: no",
		},
		"a status without capabilities": {
			func(m *machine) { m.write("proc/self/status", "Name: x\n") }, MemlockTooSmall, "…proc/self/status has no CapEff",
		},
		"no status": {
			func(m *machine) { m.remove("proc") }, MemlockTooSmall, "…no such file or directory",
		},
	} {
		t.Run(what, func(t *testing.T) {
			m := newMachine(t)
			tc.change(m)
			got := m.host.Check(Want{Resource: resource, Count: 1})
			said := got.Message == tc.says
			if tail, open := strings.CutPrefix(tc.says, "…"); open {
				said = strings.HasSuffix(got.Message, tail)
			}
			if got.Reason != tc.want || !said {
				t.Errorf("%s: %s\nwant %s: %s", got.Reason, got.Message, tc.want, tc.says)
			}
		})
	}
}

// powerless takes the capability away.
func (m *machine) powerless() { m.write("proc/self/status", "CapEff:\t0000000000000000\n") }

func TestOneDeviceOfTwoThatDoesNotWork(t *testing.T) {
	m := newMachine(t)
	m.env[variable] = vf + "," + other
	m.device(other, "mlx5_3", 3)
	m.port(vf, "mlx5_4", 1, "1: DOWN", "Ethernet")
	got := m.host.Check(Want{Resource: resource, Count: 2})
	want := Report{
		Reason: PortDown, Message: vf + " (mlx5_4): port 1 is DOWN, not ACTIVE",
		Devices: []Device{
			{
				PCI: other, Reason: DevicesReady, Message: other + " (mlx5_3): port 1, GID 3 10.0.0.5 on net1, MTU 1024",
				Name: "mlx5_3", Verbs: "/dev/infiniband/uverbs3", Port: 1, Link: "Ethernet", GID: 3,
				Addr: netip.MustParseAddr("10.0.0.5"), Netdev: "net1", MTU: 1024,
			},
			{
				PCI: vf, Reason: PortDown, Message: vf + " (mlx5_4): port 1 is DOWN, not ACTIVE",
				Name: "mlx5_4", Verbs: "/dev/infiniband/uverbs4", Port: 1, Link: "Ethernet",
			},
		},
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	m.remove(pci(vf, "infiniband"))
	if got := m.host.Check(Want{Resource: resource, Count: 3}); got.Reason != NoDeviceGranted || got.Message != "2 of 3 devices of openshift.io/rdma_vf were granted" {
		t.Errorf("of three: %s: %s", got.Reason, got.Message)
	}
}

// TestThisMachine: whatever it has, the default host answers.
func TestThisMachine(t *testing.T) {
	t.Setenv(variable, "ffff:ff:1f.7") // no machine has so many
	if got := (Host{}).Check(Want{Resource: resource, Count: 1}); got.Reason != NoRDMADevice {
		t.Errorf("%s: %s", got.Reason, got.Message)
	}
	h := Host{}.withDefaults()
	if l := h.locked(1 << 12); l.err != nil {
		t.Errorf("locked memory: %v", l.err)
	}
	if _, err := h.Addresses(); err != nil {
		t.Error(err)
	}
}

func TestGrants(t *testing.T) {
	for what, tc := range map[string]struct {
		resource string
		env      map[string]string
		want     []string // address, device, node
		err      string
	}{
		"none":                                {resource, nil, nil, ""},
		"another resource's":                  {resource, map[string]string{"PCIDEVICE_INTEL_COM_SRIOV": vf}, nil, ""},
		"one":                                 {resource, map[string]string{variable: vf}, []string{vf + "  "}, ""},
		"several in no order":                 {resource, map[string]string{variable: vf + "," + other}, []string{other + "  ", vf + "  "}, ""},
		"a domain of more than 16 bits":       {resource, map[string]string{variable: "10000:01:00.0"}, []string{"10000:01:00.0  "}, ""},
		"a hyphen, as the documents say":      {"nvidia.com/hca-a", map[string]string{"PCIDEVICE_NVIDIA_COM_HCA_A": vf}, []string{vf + "  "}, ""},
		"a hyphen, as the code does":          {"nvidia.com/hca-a", map[string]string{"PCIDEVICE_NVIDIA_COM_HCA-A": vf, "PCIDEVICE_NVIDIA_COM_HCA_A": other}, []string{vf + "  "}, ""},
		"what belongs to it":                  {resource, map[string]string{variable: vf, variable + "_INFO": info(vf, "mlx5_4", 4)}, []string{vf + " mlx5_4 /dev/infiniband/uverbs4"}, ""},
		"a description of another device":     {resource, map[string]string{variable: vf, variable + "_INFO": info(other, "mlx5_3", 3)}, []string{vf + "  "}, ""},
		"a resource whose name ends in _info": {resource, map[string]string{variable: vf, variable + "_INFO": other}, []string{vf + "  "}, ""},

		"no address":                {resource, map[string]string{variable: "mlx5_core.sf.4"}, nil, variable + `: "mlx5_core.sf.4" is not a PCI address`},
		"a path":                    {resource, map[string]string{variable: vf + ",../" + vf}, nil, variable + `: "../` + vf + `" is not a PCI address`},
		"an address twice":          {resource, map[string]string{variable: vf + "," + vf}, nil, variable + ": an address occurs twice"},
		"too many":                  {resource, map[string]string{variable: strings.Repeat(vf+",", 64) + vf}, nil, variable + ": 65 devices: want at most 64"},
		"too much":                  {resource, map[string]string{variable: strings.Repeat("0", 5000)}, nil, variable + ": 5000 bytes of addresses: want at most 4096"},
		"a description of nothing":  {resource, map[string]string{variable: vf, variable + "_INFO": "[]"}, nil, variable + ": _INFO: not what the plugin writes: json: cannot unmarshal array into Go value of type map[string]device.description"},
		"a description too long":    {resource, map[string]string{variable: vf, variable + "_INFO": strings.Repeat(" ", 70000)}, nil, variable + ": _INFO: 70000 bytes: want at most 65536"},
		"a device by another name":  {resource, map[string]string{variable: vf, variable + "_INFO": `{"` + vf + `":{"generic":{"deviceID":"x"}}}`}, nil, variable + `: _INFO: "` + vf + `" is called "x"`},
		"a node that is a path":     {resource, map[string]string{variable: vf, variable + "_INFO": `{"` + vf + `":{"rdma":{"uverbs":"/dev/infiniband/../sda"}}}`}, nil, variable + `: _INFO: "` + vf + `": "/dev/infiniband/../sda" is not a node such as /dev/infiniband/uverbs0`},
		"a device that is a path":   {resource, map[string]string{variable: vf, variable + "_INFO": `{"` + vf + `":{"rdma":{"rdma_dev":"../x"}}}`}, nil, variable + `: _INFO: "` + vf + `": "../x" is not the name of a device`},
		"the same error every time": {resource, map[string]string{variable: vf, variable + "_INFO": `{"b":{"generic":{"deviceID":"x"}},"a":{"generic":{"deviceID":"x"}}}`}, nil, variable + `: _INFO: "a" is called "x"`},
	} {
		t.Run(what, func(t *testing.T) {
			grants, err := Grants((&machine{env: tc.env}).environ(), tc.resource)
			var got []string
			for _, g := range grants {
				got = append(got, g.Address+" "+g.Device+" "+g.Verbs)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("grants %q, want %q", got, tc.want)
			}
			if text := fmt.Sprint(err); text != tc.err && (err != nil || tc.err != "") {
				t.Errorf("error %s\n want %s", text, tc.err)
			}
		})
	}
}

func FuzzGrants(f *testing.F) {
	f.Add(vf, "")
	f.Add(other+","+vf, info(vf, "mlx5_4", 4))
	f.Add("mlx5_core.sf.4", `{"mlx5_core.sf.4":{"rdma":{"uverbs":7}}}`)
	f.Add(vf, `{"`+vf+`":{"rdma":{"uverbs":"/dev/infiniband/../../etc/passwd"}}}`)
	f.Add(",", "null")
	f.Add(vf, `{"`+vf+`":{"rdma":{"rdma_dev":"`+strings.Repeat("\U0010ffff", 100)+`"}}}`)
	f.Fuzz(func(t *testing.T, addresses, info string) {
		env := map[string]string{variable: addresses, variable + "_INFO": info}
		grants, err := Grants((&machine{env: env}).environ(), resource)
		if err != nil {
			if len(grants) > 0 || len(err.Error()) > MaxMessage || strings.ContainsRune(err.Error(), '\n') {
				t.Fatalf("%d grants, error %q", len(grants), err)
			}
			return
		}
		if len(grants) == 0 || len(grants) > maxGrants {
			t.Fatalf("%d grants", len(grants))
		}
		for i, g := range grants {
			// Whatever is read becomes part of a path.
			for _, word := range []string{g.Address, g.Device, strings.TrimPrefix(g.Verbs, "/dev/infiniband/")} {
				if strings.ContainsAny(word, "/\x00\n") {
					t.Fatalf("grant %+v", g)
				}
			}
			if i > 0 && grants[i-1].Address >= g.Address {
				t.Fatalf("%s after %s", g.Address, grants[i-1].Address)
			}
		}
	})
}

func TestModes(t *testing.T) {
	for text, want := range map[string]Mode{"off": Off, "Auto": Auto, "REQUIRED": Required} {
		if got, err := ParseMode(text); err != nil || got != want || got.On() != (want != Off) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	if _, err := ParseMode("on"); err == nil || Mode("").On() {
		t.Errorf("error %v; the zero mode is on: %t", err, Mode("").On())
	}
}

func TestMessagesAreBounded(t *testing.T) {
	s := seen{locked: locked{capable: true}}
	for i := range 16 {
		s.devices = append(s.devices, seenDevice{
			Grant: Grant{Address: fmt.Sprintf("0000:3b:00.%d", i)}, present: true, name: "mlx5_" + strings.Repeat("ü", 30), node: "n",
			ports: []port{{number: 1, state: active, link: ethernet, gids: []gid{{kind: roce, addr: netip.MustParseAddr("10.0.0.5")}}}},
			own:   []Address{{Addr: netip.MustParseAddr("10.0.0.5")}},
		})
	}
	r := judge(Want{Count: 16}, s)
	if r.Reason != DevicesReady || len(r.Message) > MaxMessage || !strings.HasSuffix(r.Message, "…") {
		t.Errorf("%s, %d bytes: %s", r.Reason, len(r.Message), r.Message)
	}
}

func TestEveryReasonIsListed(t *testing.T) {
	if r := Silent(5 * time.Second); !slices.Contains(Reasons(), r.Reason) || !strings.Contains(r.Message, "5s") {
		t.Errorf("%+v", r)
	}
	if list := slices.Sorted(slices.Values(Reasons())); len(slices.Compact(list)) != len(Reasons()) {
		t.Errorf("%q", list)
	}
}
