//go:build linux

// Package machine runs virtual machines in QEMU, emulated and without privileges, for
// as long as somebody wants and no longer. It is for tests.
//
//	Run ──▶ qemu-system-x86_64 ── serial console ──▶ lines: log, and the guest's own
//	 │            ▲                                   │
//	 │            └── a pair of sockets: the other's network interface
//	 └── the end: the guest has switched off, or is killed when the context ends
//
// Nothing is reachable: a machine has a network interface only if it gets one end of a
// cable. A machine dies with the process that runs it, in whatever way that dies.
package machine
