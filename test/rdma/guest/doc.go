//go:build linux

// Command guest is the first process of a virtual machine, and the only one that is
// not under test. It follows the plan of package plan:
//
//	kernel ─▶ mount, modules, network, soft-RoCE ─▶ steps ─▶ @@ done    ─▶ power off
//	                         │                        │
//	                         └────────────────────────┴────▶ @@ failed, kernel's log
//
// It waits for everything with a limit, and on no account does it end in another way:
// the kernel would panic. The host looks at the lines that it prints, not at how the
// machine ends.
package main
