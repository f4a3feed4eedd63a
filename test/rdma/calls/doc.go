//go:build linux

// Command calls is a server and a client of native calls, on two machines, whose blobs
// go by RDMA. It is for tests.
//
//	client's machine                         server's machine
//	client ── calls, by TCP ───────────────▶ server ────────────▶ worker, another process
//	  │                                        │                    │
//	  └─ memory ═══ RDMA READ, both ways ═══ segments ═══ mapped ═══┘
//
// The worker says what it sees of a call's arguments, and makes the results. The client
// compares: every byte has crossed the network, and three processes.
//
//	calls -serve 10.7.0.1:7200 -address 10.7.0.1
//	calls -call 10.7.0.1:7200 -address 10.7.0.2 argument result inout
//
// The client takes no TCP for an answer: what cannot go by RDMA fails; but with
// -fallback, when it checks that bytes arrive all the same. The output is that of Go's
// tests, with figures before. The server ends when a client says so.
package main
