// Package rdma tells whether a server can use the RDMA devices that it was
// promised, and if not, why. It needs no verbs library: all that it wants to know
// is in the environment and in sysfs.
//
//	environment               sysfs, by PCI address                 the process
//	───────────               ─────────────────────                 ───────────
//	PCIDEVICE_…=addresses     infiniband/DEV/ports/N/state          RLIMIT_MEMLOCK
//	PCIDEVICE_…_INFO=JSON       …/link_layer, gids, gid_attrs       CAP_IPC_LOCK
//	    │                     infiniband_verbs/uverbsN              addresses
//	    │ Grants                  │ look                                │
//	    └──────────▶ grants ──────┴────────────▶ seen ◀─────────────────┘
//	                                               │ judge: no I/O
//	                                               ▼
//	                                    Report: a Reason, a sentence
//
// # The contract
//
// The SR-IOV network device plugin sets two variables for each resource of a
// container: the PCI addresses that it granted, in no order, with commas between,
// and for each address what belongs to it. Its documents and its code differ in
// how a resource's name becomes a variable's ([Grants] takes both). The names in
// the second variable are of the moment at which the container was made, and may
// be missing then; where sysfs knows better it is believed.
//
// # What is looked at
//
// A device can be used if a driver has made an RDMA device of it in this network
// namespace, if the container has its uverbs node and may open it, if a port is
// ACTIVE, and if that port has an address that is also the pod's: of RoCE v2, for
// IPv4 if there is one. Indexes of GIDs move when links go up and down: they are
// true for the moment of the report. And the process must be able to pin memory:
// the capability IPC_LOCK must be in effect, which it never is for a user that is
// not root, or the limit be high enough.
//
// A report is about the devices as they are now, and says nothing about the
// network behind them. The package keeps nothing; a crash loses nothing.
package rdma
