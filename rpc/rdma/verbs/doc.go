// Package verbs is what the project needs of RDMA verbs: a device, memory that it may
// access, and reliable connected queue pairs that do nothing but RDMA READ. Types are
// plain Go; whoever has a device, or plays one, implements [Driver].
//
//	build                          Load gives
//	-tags rdma, with cgo, Linux    libibverbs, looked for when it is called (dlopen);
//	                               ErrNoRDMA, if this machine does not have it
//	any other                      ErrNoRDMA
//
// So the one program starts everywhere, and says why it has no RDMA. Package fakeverbs
// is a network of devices in memory, with faults, for tests.
//
// A queue pair has a completion queue and a completion channel of its own. A queue goes
// one way only:
//
//	         NewQueue         Connect
//	(none) ───────────▶ INIT ─────────▶ RTS ── READs under way, completions
//	                      │              │ bad completion, Fail
//	                      │              ▼
//	                      │             ERR ── what is under way is flushed
//	                      └──── Close ───┴──▶ (none)
//
// Nothing here keeps memory alive, waits or tries again: package rdma does.
//
// # What a crash loses
//
// The kernel closes everything of a process that ends: its devices stop to access its
// memory before that is given back.
package verbs
