package device

import (
	"cmp"
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
	// Resource is the extended resource, such as openshift.io/rdma_vf. Empty: whatever
	// the container was given, by any plugin or driver.
	Resource string
	// Count of devices; 0 is 1.
	Count int
	// Locked is how many bytes are to be pinned; 0: MinLocked.
	Locked uint64
}

func (w Want) locked() uint64 { return cmp.Or(w.Locked, MinLocked) }

// Report is what is true of a server's devices.
type Report struct {
	Reason Reason
	// Message is the reason with its circumstances, for people; at most
	// [MaxMessage] bytes.
	Message string
	// Devices are the granted devices, by address.
	Devices []Device
	// Netns is how devices belong to network namespaces.
	Netns Netns
}

// Device is one granted device (a virtual function, mostly).
type Device struct {
	// PCI is its address on the bus; empty: it is not on one.
	PCI string
	// Reason and Message are this device's own.
	Reason  Reason
	Message string
	// Name of the RDMA device, such as mlx5_4, and Verbs, the path of its node.
	Name, Verbs string
	// Port to use, what it is linked to (Ethernet or InfiniBand), the index of its
	// GID and the address there; of InfiniBand the LID as well.
	Port int
	Link string
	GID  int
	Addr netip.Addr
	LID  uint16
	// Netdev is the network interface of the GID; empty: not known.
	Netdev string
	// MTU is the payload of a packet at most, in bytes: 256 to 4096, a power of two;
	// 0: not known. What two ends use is the lesser of theirs.
	MTU int
}

// Err is why the device cannot be used, a [*Fault]; nil: it can.
func (d Device) Err() error {
	if d.Reason == DevicesReady {
		return nil
	}
	return &Fault{d.Reason, d.Message}
}

// Unopened is the report on devices that look well and cannot be opened all the same.
func (r Report) Unopened(why error) Report {
	r.Reason, r.Message = NoDeviceNode, clip("it looks well, and cannot be opened: "+why.Error())
	return r
}

// Silent is the report on devices whose state cannot be read in time.
func Silent(after fmt.Stringer) Report {
	return Report{Reason: NoAnswer, Message: fmt.Sprintf("the devices' state could not be read within %s: a driver or its firmware may hang", after)}
}

// judge decides what is true.
func judge(want Want, s seen) Report {
	r := Report{Netns: s.netns}
	for i := range s.devices {
		r.Devices = append(r.Devices, judgeDevice(&s.devices[i], s.netns))
	}
	bad := slices.IndexFunc(r.Devices, func(d Device) bool { return d.Reason != DevicesReady })
	switch {
	case s.grants != nil:
		r.Reason, r.Message = BadDeviceInfo, s.grants.Error()
	case s.network != nil:
		r.Reason, r.Message = BadDeviceInfo, s.network.Error()
	case len(r.Devices) < max(want.Count, 1):
		r.Reason, r.Message = NoDeviceGranted, want.ungranted(len(r.Devices))
	case bad >= 0:
		r.Reason, r.Message = r.Devices[bad].Reason, r.Devices[bad].Message
	case !s.locked.enough():
		r.Reason, r.Message = MemlockTooSmall, s.locked.String()
	case s.library != nil:
		r.Reason, r.Message = NoLibrary, s.library.Error()
	default:
		r.Reason, r.Message = DevicesReady, ready(r.Devices)
	}
	r.Message = clip(r.Message)
	return r
}

// ungranted says that there are fewer devices than were promised.
func (w Want) ungranted(devices int) string {
	switch {
	case devices > 0 && w.Resource == "":
		return fmt.Sprintf("%d of %d devices were granted", devices, w.Count)
	case devices > 0:
		return fmt.Sprintf("%d of %d devices of %s were granted", devices, w.Count, w.Resource)
	case w.Resource == "":
		return "no device was granted: no variable " + pluginPrefix + "… or " + driverPrefix + "… names one, and there is none in /dev/infiniband"
	default:
		return fmt.Sprintf("no device of %s was granted: %s is not set", w.Resource, variables(w.Resource)[0])
	}
}

// ready lists the devices that can be used.
func ready(devices []Device) string {
	messages := make([]string, len(devices))
	for i := range devices {
		messages[i] = devices[i].Message
	}
	return strings.Join(messages, "; ")
}

func judgeDevice(d *seenDevice, netns Netns) Device {
	v := Device{PCI: d.Address, Name: d.name, Verbs: d.node}
	say := func(reason Reason, format string, args ...any) Device {
		v.Reason, v.Message = reason, clip(d.String()+": "+fmt.Sprintf(format, args...))
		return v
	}
	switch {
	case !d.present && d.Address != "":
		return say(NoRDMADevice, "this machine has no such PCI device")
	case d.name == "" && netns == NetnsExclusive:
		return say(OtherNamespace, "it has no RDMA device in this network namespace, and namespaces share none here: the pod's network must bring it in, by the CNI plugin rdma")
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
	own := d.addresses()
	p, g := choose(d.ports, own)
	v.Port, v.Link, v.LID = p.number, p.link, p.lid
	switch {
	case p.state != active:
		return say(PortDown, "port %d is %s, not %s", p.number, p.state, active)
	case g == nil && p.link == infiniband:
		return say(NoGID, "port %d has no GID", p.number)
	case g == nil && d.attached != nil:
		return say(NoGID, "port %d has no RoCE v2 GID that is an address of %s on %s: %s", p.number, d.attached.network, d.attached.netdev, addresses(own))
	case g == nil:
		return say(NoGID, "port %d has no RoCE v2 GID that is one of the pod's addresses: %s", p.number, addresses(own))
	}
	v.GID, v.Addr, v.Netdev, v.MTU = g.index, g.addr, g.netdev, payload(p.link, g.mtu)
	if v.MTU == 0 && p.link == ethernet && g.mtu > 0 {
		return say(MTUTooSmall, "port %d: packets of %s have %d bytes, RDMA needs %d", p.number, v.Netdev, g.mtu, smallest+headers)
	}
	return say(DevicesReady, "port %d, GID %d %s%s", p.number, g.index, g.addr, where(v.Netdev, v.MTU))
}

// String names a device by whatever names it has.
func (d *seenDevice) String() string {
	switch {
	case d.Address == "":
		return cmp.Or(d.name, d.Device)
	case d.name == "":
		return d.Address
	default:
		return d.Address + " (" + d.name + ")"
	}
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
func choose(ports []port, own []Address) (*port, *gid) {
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

// gid is the entry to connect from: on Ethernet one of RoCE v2 that is one of the
// pod's addresses; on InfiniBand, the port's own. Networks may have the same
// addresses, and a card's table those of several: one of the interface that has the
// address comes first, then IPv4, then the order of the table.
func (p *port) gid(own []Address) *gid {
	var found *gid
	highest := 0
	for i := range p.gids {
		if rank := p.rank(&p.gids[i], own); rank > highest {
			found, highest = &p.gids[i], rank
		}
	}
	return found
}

// perfect is the highest rank: no other entry is better.
const perfect = 4

// rank tells how good an entry is to connect from; 0: it is of no use.
func (p *port) rank(g *gid, own []Address) int {
	if p.link == infiniband {
		if g.index == 0 {
			return perfect
		}
		return 0
	}
	at := slices.IndexFunc(own, func(a Address) bool { return a.Addr == g.addr })
	if g.kind != roce || at < 0 {
		return 0
	}
	rank := 1
	if g.addr.Is4() {
		rank++
	}
	if g.netdev != "" && g.netdev == own[at].Netdev {
		rank += 2
	}
	return rank
}

// Bytes of packets on Ethernet, as the kernel counts them.
const headers, smallest, largest = 96, 256, 4096

// payload is the MTU of RDMA on an interface: the largest power of two from 256
// to 4096 that leaves room for 96 bytes of headers, as the kernel computes it. Of
// InfiniBand sysfs does not tell it.
func payload(link string, mtu int) int {
	room := mtu - headers
	if link != ethernet || room < smallest {
		return 0
	}
	return min(1<<(bits.Len(uint(room))-1), largest)
}

func (l locked) enough() bool { return l.err == nil && l.refusal == nil && !l.confined() }

// confined tells whether the control group does not allow as much memory as is to be pinned.
func (l locked) confined() bool { return l.group != 0 && l.group < l.wanted }

// String says why it is not enough.
func (l locked) String() string {
	switch {
	case l.err != nil:
		return fmt.Sprintf("how much memory may be locked is not known: %v", l.err)
	case l.confined():
		return fmt.Sprintf("%d KiB of memory are to be pinned, and the container may have %d KiB in all (the memory limit of its control group)", l.wanted>>10, l.group>>10)
	case l.capable:
		return fmt.Sprintf("%d KiB of memory cannot be locked although IPC_LOCK is in effect: %v (in a user namespace of the pod's own the capability is of no use)", l.wanted>>10, l.refusal)
	case l.limit >= l.wanted:
		return fmt.Sprintf("%d KiB of memory cannot be locked although the limit is %d KiB: %v", l.wanted>>10, l.limit>>10, l.refusal)
	}
	return fmt.Sprintf("at most %d KiB of memory may be locked, %d KiB are needed, and IPC_LOCK is not in effect (of a user that is not root it never is)",
		l.limit>>10, l.wanted>>10)
}

// addresses lists the first of them.
func addresses(list []Address) string {
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
		words = append(words, a.Addr.String())
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
