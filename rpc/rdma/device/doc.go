// Package device finds the RDMA devices that a process was given, and tells whether
// they can be used, and if not, why. It needs no verbs library: all that it wants to
// know is in the environment, in sysfs and in the pod's annotations.
//
//	who gave it               sysfs, by PCI address                 the process
//	───────────               ─────────────────────                 ───────────
//	PCIDEVICE_…=addresses     infiniband/DEV/ports/N/state          mlock, IPC_LOCK,
//	PCIDEVICE_…_INFO=JSON       …/link_layer, gids, gid_attrs       RLIMIT_MEMLOCK
//	SRIOVNETWORK_VF_DEVICE_…  infiniband_verbs/uverbsN              addresses
//	/dev/infiniband/uverbsN       │                                 network-status
//	    │ Grants                  │ look                                │
//	    └──────────▶ grants ──────┴────────────▶ seen ◀─────────────────┘
//	                                               │ judge: no I/O
//	                                               ▼
//	                                Report: a Reason, a sentence, Devices
//
// # Who gives devices
//
// The SR-IOV network device plugin sets two variables for each resource of a
// container: the PCI addresses that it granted, in no order, with commas between,
// and for each address what belongs to it. Its documents and its code differ in
// how a resource's name becomes a variable's ([Grants] takes both). The names in
// the second variable are of the moment at which the container was made, and may
// be missing then; where sysfs knows better it is believed. The SR-IOV driver of
// dynamic resource allocation sets a variable with the address for each device.
// Others set none (the shared device plugin, other drivers, a machine without
// Kubernetes): who names no resource gets the devices whose nodes there are in
// /dev/infiniband. Sysfs alone proves nothing: with RDMA's default it shows the
// devices of all pods.
//
// # What is looked at
//
// A device can be used if a driver has made an RDMA device of it in this network
// namespace, if the container has its uverbs node and may open it, if a port is
// ACTIVE, and if that port has an address that is also the pod's: of RoCE v2, for
// IPv4 if there is one. Where a CNI plugin has written which interface it made of
// which device, it must be an address of that one. Indexes of GIDs move when links go
// up and down: they are true for the moment of the report, and [Host.Refresh] has those
// of the next. The interface's packets must have room for RDMA's. And the process must
// be able to pin memory: a lock is tried, because what it is allowed to do depends on
// the capability IPC_LOCK, which a user that is not root does not have in effect
// although the container was given it, on the limit, and on the user namespace.
//
// A report is about the devices as they are now, and says nothing about the
// network behind them. The package keeps nothing; a crash loses nothing.
package device
