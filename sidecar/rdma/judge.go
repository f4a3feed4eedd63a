package rdma

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// MinLocked is how many bytes a process must be able to pin, so that RDMA is of
// use to it: the smallest arena for blobs. The limit that containers have without
// IPC_LOCK is 8 MiB in most clusters.
const MinLocked = 64 << 20

// Want is what a server was promised.
type Want struct {
	// Resource is the extended resource, such as openshift.io/rdma_vf.
	Resource string
	// Count of devices.
	Count int
}

// Report is what is true of a server's devices.
type Report struct {
	Reason Reason
	// Message is the reason with its circumstances, for people; at most
	// [MaxMessage] bytes.
	Message string
	// VFs are the granted devices, by address.
	VFs []VF
}

// VF is one granted device (a virtual function, mostly).
type VF struct {
	// PCI is its address on the bus.
	PCI string
	// Reason and Message are this device's own.
	Reason  Reason
	Message string
	// Device is the RDMA device, Verbs the path of its node.
	Device, Verbs string
	// Port to use, what it is linked to (Ethernet or InfiniBand), the index of its
	// GID and the address there.
	Port int
	Link string
	GID  int
	Addr netip.Addr
	// Netdev is the network interface of the GID; empty: not known.
	Netdev string
	// MTU is the payload of a packet at most, in bytes; 0: not known.
	MTU int
}

// Silent is the report on devices whose state cannot be read in time.
func Silent(after fmt.Stringer) Report {
	return Report{Reason: NoAnswer, Message: fmt.Sprintf("the devices' state could not be read within %s: a driver or its firmware may hang", after)}
}

// judge decides what is true.
func judge(want Want, s seen) Report {
	var r Report
	for i := range s.devices {
		r.VFs = append(r.VFs, judgeDevice(&s.devices[i], s.own))
	}
	bad := slices.IndexFunc(r.VFs, func(v VF) bool { return v.Reason != DevicesReady })
	switch {
	case s.grants != nil:
		r.Reason, r.Message = BadDeviceInfo, s.grants.Error()
	case len(r.VFs) == 0:
		r.Reason, r.Message = NoDeviceGranted, fmt.Sprintf("no device of %s was granted: %s is not set", want.Resource, variables(want.Resource)[0])
	case len(r.VFs) < want.Count:
		r.Reason, r.Message = NoDeviceGranted, fmt.Sprintf("%d of %d devices of %s were granted", len(r.VFs), want.Count, want.Resource)
	case bad >= 0:
		r.Reason, r.Message = r.VFs[bad].Reason, r.VFs[bad].Message
	case !s.locked.enough():
		r.Reason, r.Message = MemlockTooSmall, s.locked.String()
	default:
		r.Reason, r.Message = DevicesReady, ready(r.VFs)
	}
	r.Message = clip(r.Message)
	return r
}

// ready lists the devices that can be used.
func ready(vfs []VF) string {
	messages := make([]string, len(vfs))
	for i := range vfs {
		messages[i] = vfs[i].Message
	}
	return strings.Join(messages, "; ")
}

func judgeDevice(d *device, own []netip.Addr) VF {
	v := VF{PCI: d.Address, Device: d.name, Verbs: d.node}
	say := func(reason Reason, format string, args ...any) VF {
		name := d.Address
		if d.name != "" {
			name += " (" + d.name + ")"
		}
		v.Reason, v.Message = reason, clip(name+": "+fmt.Sprintf(format, args...))
		return v
	}
	switch {
	case !d.present:
		return say(NoRDMADevice, "this machine has no such PCI device")
	case d.name == "":
		return say(NoRDMADevice, "it has no RDMA device here: it has no driver for RDMA, or that device is in another network namespace")
	case d.node == "":
		return say(NoDeviceNode, "it has no uverbs device")
	case d.Verbs != "" && d.Verbs != d.node:
		return say(NoDeviceNode, "the container was given %s, and the device is %s now: the pod must be made anew", d.Verbs, d.node)
	case d.nodeErr != nil:
		return say(NoDeviceNode, "%s cannot be opened: %v", d.node, d.nodeErr)
	case len(d.ports) == 0:
		return say(PortDown, "it has no port")
	}
	p, g := choose(d.ports, own)
	v.Port, v.Link = p.number, p.link
	switch {
	case p.state != active:
		return say(PortDown, "port %d is %s, not %s", p.number, p.state, active)
	case g == nil && p.link == infiniband:
		return say(NoGID, "port %d has no GID", p.number)
	case g == nil:
		return say(NoGID, "port %d has no RoCE v2 GID that is one of the pod's addresses: %s", p.number, addresses(own))
	}
	v.GID, v.Addr, v.Netdev, v.MTU = g.index, g.addr, g.netdev, payload(p.link, g.mtu)
	return say(DevicesReady, "port %d, GID %d %s%s", p.number, g.index, g.addr, where(v.Netdev, v.MTU))
}

// where says by which interface and with which MTU, as far as that is known.
func where(netdev string, mtu int) string {
	text := ""
	if netdev != "" {
		text += " on " + netdev
	}
	if mtu > 0 {
		text += fmt.Sprintf(", MTU %d", mtu)
	}
	return text
}

const (
	active     = "ACTIVE"
	roce       = "RoCE v2"
	ethernet   = "Ethernet"
	infiniband = "InfiniBand"
)

// choose returns the first port that can be used, and its GID; if there is none,
// the first that is ACTIVE, or the first, and nil.
func choose(ports []port, own []netip.Addr) (*port, *gid) {
	best := &ports[0]
	for i := range ports {
		p := &ports[i]
		if p.state != active {
			continue
		}
		if g := p.gid(own); g != nil {
			return p, g
		}
		if best.state != active {
			best = p
		}
	}
	return best, nil
}

// gid is the entry to connect from: on Ethernet the first of RoCE v2 that is one
// of the pod's addresses, IPv4 before IPv6; on InfiniBand, the port's own.
func (p *port) gid(own []netip.Addr) *gid {
	var found *gid
	for i := range p.gids {
		g := &p.gids[i]
		switch {
		case p.link == infiniband:
			if g.index == 0 {
				return g
			}
		case g.kind != roce || !slices.Contains(own, g.addr):
		case found == nil || g.addr.Is4() && !found.addr.Is4():
			found = g
		}
	}
	return found
}

// payload is the MTU of RDMA on an interface: the largest power of two from 256
// to 4096 that leaves room for 96 bytes of headers, as the kernel computes it. Of
// InfiniBand sysfs does not tell it.
func payload(link string, mtu int) int {
	const headers, smallest, largest = 96, 256, 4096
	room := mtu - headers
	if link != ethernet || room < smallest {
		return 0
	}
	return min(1<<(bits.Len(uint(room))-1), largest)
}

func (l locked) enough() bool { return l.err == nil && (l.capable || l.limit >= MinLocked) }

// String says why it is not enough.
func (l locked) String() string {
	if l.err != nil {
		return fmt.Sprintf("how much memory may be locked is not known: %v", l.err)
	}
	return fmt.Sprintf("at most %d KiB of memory may be locked, %d KiB are needed, and IPC_LOCK is not in effect (of a user that is not root it never is)",
		l.limit>>10, MinLocked>>10)
}

// addresses lists the first of them.
func addresses(list []netip.Addr) string {
	const most = 4
	if len(list) == 0 {
		return "none is known"
	}
	var words []string
	for i, a := range list {
		if i == most {
			words = append(words, fmt.Sprintf("%d more", len(list)-most))
			break
		}
		words = append(words, a.String())
	}
	return strings.Join(words, ", ")
}

// clip makes a message of s that is not too long.
func clip(s string) string {
	if s = strings.ToValidUTF8(s, "?"); len(s) <= MaxMessage {
		return s
	}
	const more = "…"
	cut := MaxMessage - len(more)
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + more
}
