//go:build linux

// Command rdma tests RDMA where there is no hardware for it: in virtual machines with
// the kernel's soft-RoCE, which is real verbs and real packets, made by software.
//
//	go run ./test/rdma
//
//	one machine                         two machines
//	┌─────────────────────────┐         ┌────────────┐  Ethernet, a pair  ┌────────────┐
//	│ client ◀─ rxe, lo ─▶ server │     │ server, rxe │◀── of sockets ───▶│ rxe, client │
//	└─────────────────────────┘         └────────────┘                    └────────────┘
//
// What is real and what is not:
//
//	libibverbs, rdma_rxe, packets     real: Debian's kernel and libraries (package image)
//	our programs                      real: those of this tree, with the build tag rdma
//	processors                        emulated by QEMU, on any machine, without
//	                                  privileges (package machine)
//	network devices                   the kernel's software in place of a NIC
//
// So what is shown is what programs do, and what they are told when something goes
// wrong. How fast a NIC would be is not: the figures are here to compare programs with
// each other in the same run. Neither are doorbells, congestion, or virtual functions.
//
// Every machine has a limit of time, and ends with this program. Consoles are in
// out/rdma. The exit status is 1 if something has failed; what could not be tried has
// failed, too.
package main
