package device

import (
	"net/netip"
	"os"
)

// Host is where the truth is looked up. The zero value is this process, on this
// machine.
type Host struct {
	// Sys, Dev and Proc are where sysfs, the devices and procfs are.
	Sys, Dev, Proc string
	// NetworkStatus is a file with the pod's annotation
	// k8s.v1.cni.cncf.io/network-status, such as a volume of the downward API has.
	// Empty, or one that is not there or empty: nobody tells which interface is whose.
	NetworkStatus string
	// Environ returns the environment, as NAME=VALUE.
	Environ func() []string
	// Addresses returns the pod's addresses.
	Addresses func() ([]Address, error)
	// Memlock returns the limit on locked memory, in bytes.
	Memlock func() (uint64, error)
	// Lock tries whether so many bytes of memory can be locked, and unlocks them.
	Lock func(bytes uint64) error
	// Netns returns how RDMA devices belong to network namespaces.
	Netns func() Netns
	// Library tells why there is no verbs library; nil: nobody needs one.
	Library func() error
}

// Address is an address of an interface in the pod's network namespace.
type Address struct {
	Addr netip.Addr
	// Netdev is the interface; empty: not known.
	Netdev string
}

// Check looks, and judges. It reads some dozens of small files, opens each
// device's node once and changes nothing; it takes a millisecond, or for ever if
// a driver hangs.
func (h Host) Check(want Want) Report {
	want.Locked = want.locked()
	return judge(want, h.withDefaults().look(want))
}

// Refresh looks at one device of a report again. Who connects does it each time:
// indexes of GIDs move when links go up and down, and addresses come late. The error
// is a [*Fault].
func (h Host) Refresh(d Device) (Device, error) {
	h = h.withDefaults()
	own, status, err := h.network()
	if err != nil {
		return d, &Fault{BadDeviceInfo, clip(err.Error())}
	}
	now := h.device(Grant{Address: d.PCI, Device: d.Name}, own, status)
	fresh := judgeDevice(&now, h.Netns())
	return fresh, fresh.Err()
}

// Fault is why a device cannot be used.
type Fault struct {
	Reason  Reason
	Message string
}

// Error has both.
func (f *Fault) Error() string { return string(f.Reason) + ": " + f.Message }

func (h Host) withDefaults() Host {
	for _, dir := range []struct {
		field     *string
		otherwise string
	}{{&h.Sys, "/sys"}, {&h.Dev, "/dev"}, {&h.Proc, "/proc"}} {
		if *dir.field == "" {
			*dir.field = dir.otherwise
		}
	}
	if h.Environ == nil {
		h.Environ = os.Environ
	}
	if h.Addresses == nil {
		h.Addresses = interfaceAddresses
	}
	if h.Memlock == nil {
		h.Memlock = memlock
	}
	if h.Lock == nil {
		h.Lock = lockable
	}
	if h.Netns == nil {
		h.Netns = netnsMode
	}
	return h
}

func (h Host) look(want Want) seen {
	s := seen{netns: h.Netns()}
	if h.Library != nil {
		s.library = h.Library()
	}
	var grants []Grant
	if grants, s.grants = h.grants(want); len(grants) == 0 {
		return s
	}
	var status status
	if s.own, status, s.network = h.network(); s.network != nil {
		return s
	}
	for _, g := range grants {
		s.devices = append(s.devices, h.device(g, s.own, status))
	}
	s.locked = h.locked(want.Locked)
	return s
}

// grants are the devices that somebody says are this container's; for who names no
// resource and has no variable, those whose nodes it has.
func (h Host) grants(want Want) ([]Grant, error) {
	grants, err := Grants(h.Environ(), want.Resource)
	if len(grants) > 0 || err != nil || want.Resource != "" {
		return grants, err
	}
	return h.nodes(), nil
}
