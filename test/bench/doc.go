//go:build linux

// Command bench is the load program: it starts the real programs of this
// project as processes, loads them over loopback and prints what it measured.
//
//	go run ./test/bench SCENARIO [flags]   one scenario
//	go run ./test/bench all [flags]        every scenario but soak, in modest sizes
//	go run ./test/bench help               the list of scenarios
//
// Figures are only worth something beside a floor. So another process of this
// program ("floor") answers raw TCP messages of the same sizes, and each
// scenario measures it in the same run, interleaved with what it is the floor
// of: whatever else the machine does hits both.
//
//	scenario ──▶ lab ──▶ processes: rpcpool tracker, rpcpool serve (+ agent, workers), floor
//	   │          │
//	   │          └─ /proc, /metrics: memory, descriptors, goroutines, what is left over
//	   ├─ peer   one connection, one call at a time: latencies
//	   ├─ swarm  many connections on one thread, raw epoll: rates
//	   └─ report rows: p50, p99, p99.9, floor, ratio, target, met or not
//
// A scenario fails (exit status 1) if it could not measure; a missed target is
// a row that says so, and a failure with -strict only. Soak is the exception:
// it is a test, and fails if anything died, leaked or starved.
//
// Everything that the program starts is its child, dies with it, and is stopped
// by its process id before the program ends. It owns a temporary directory,
// which it removes; a crash of it leaves that directory behind and nothing else.
package main
