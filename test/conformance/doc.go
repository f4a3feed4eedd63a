// Package conformance holds the end-to-end tests of the server side: what a
// client, a tracker and a bad program see of a server that is made of real
// processes. There is nothing but tests in it.
//
// The tracker and the sidecar run in the test's own process, so that coverage
// and the race detector see them. The agent and the workers are processes: the
// test binary itself, started again under another name.
//
//	test process                                 other processes
//	┌──────────────────────────────────────┐
//	│ test ── raw bytes, or workers/client │
//	│   │          │                       │
//	│ tracker   sidecar ── Unix socket ────┼──▶ agent ──▶ workers
//	└──────────────────────────────────────┘
//
// Tests named TestRowNNN prove a row of the wire's acceptance table, those
// named TestS0_NN a requirement on the server; docs/conformance.md lists both.
// They run on Linux only: they look into /proc, freeze, and drop packets.
//
// What takes long (1,000 crashes in a row, 10,000 sessions) is scaled down
// unless RPCPOOL_STRESS is set, as `make stress` does.
package conformance
