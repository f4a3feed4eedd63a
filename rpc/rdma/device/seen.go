package device

import "net/netip"

// seen is everything that a judgement is made from.
type seen struct {
	grants  error // why they cannot be read
	network error // why what is attached to the pod cannot be read
	library error // why there is no verbs library
	netns   Netns
	devices []seenDevice
	own     []Address // the pod's
	locked  locked
}

// seenDevice is one granted device as sysfs and /dev show it.
type seenDevice struct {
	Grant
	present  bool        // it is on the PCI bus
	name     string      // of its RDMA device; empty: it has none
	node     string      // path of its uverbs node, by sysfs if that tells
	nodeErr  error       // why that cannot be opened
	ports    []port      // in the order of their numbers
	own      []Address   // the pod's
	attached *attachment // what a CNI plugin has made of it; nil: nobody tells
}

// port is one port of an RDMA device.
type port struct {
	number int
	state  string // ACTIVE, DOWN, …
	link   string // Ethernet or InfiniBand
	lid    uint16 // of InfiniBand
	gids   []gid  // those in use
}

// gid is one entry of a port's table of addresses.
type gid struct {
	index  int
	addr   netip.Addr // IPv4 as such
	kind   string     // "RoCE v2", "IB/RoCE v1"
	netdev string     // empty: not known
	mtu    int        // of netdev, in bytes; 0: not known
}

// locked is how much memory the process may pin.
type locked struct {
	wanted  uint64 // bytes
	capable bool   // CAP_IPC_LOCK is in the effective set
	limit   uint64 // RLIMIT_MEMLOCK in bytes
	group   uint64 // memory that the control group allows, bytes; 0: any, as far as it is known
	refusal error  // why so much cannot be locked
	err     error  // why nothing of that is known
}
