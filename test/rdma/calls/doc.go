//go:build linux

// Command calls is a client of native calls whose blobs go by RDMA, and the workers of its
// server, which is rpcpool serve on another machine. It is for tests.
//
//	client's machine                         server's machine
//	client ── calls, by TCP ───────────────▶ rpcpool serve ─────▶ worker, another process
//	  │                                        │                    │
//	  └─ memory ═══ RDMA READ, both ways ═══ segments ═══ mapped ═══┘
//
// The worker says what it sees of a call's arguments, and makes the results. The client
// compares: every byte has crossed the network, and three processes.
//
//	rpcpool serve --protocol rpc --listen 10.7.0.1:7200 --rdma-mode required -- calls
//	calls -server 10.7.0.1:7200 argument result inout quit
//
// With -tcp it checks that bytes arrive although there is no RDMA at the server; else they
// have to go by it. Some checks break something in mid-transfer of a call: the link, or the
// server, by its worker's hand. Then what the caller is told must be true.
//
// The output is that of Go's tests, with figures before. Around a server it is
//
//	calls -unprivileged PROGRAM ARGS…    the program as another user than root, who may lock 64 KiB
//	calls -lives 3 PROGRAM ARGS…         the program again when it was killed, three times in all
package main
