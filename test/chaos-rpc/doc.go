//go:build linux

// Command chaos-rpc makes calls while their servers, clients and connections are
// killed, frozen and cut at random, and then compares what every call was told with
// what really ran.
//
//	go run ./test/chaos-rpc -calls 1000000
//
//	client processes ──▶ proxies, one for each pair ──▶ server processes
//	      │               cut, reset, freeze, delay        │  journal each
//	      │ outcomes      refuse                           │ runs: O_APPEND
//	      ▼                                                ▼
//	   history ─────────────▶ checker (pure) ◀──────── ground truth
//
//	      SIGKILL, SIGSTOP and SIGCONT, from a seed, to all kinds of process
//
// One of the servers runs its calls in worker processes, which are killed and frozen, too.
//
// Calls are plain, idempotent, in lanes, one-way, hedged, such that need the results of others
// (in chains, whose results servers pass on), and in groups, which the first that fails cancels.
//
// Servers and clients are this program again. A server notes a run before it does
// anything else, a client an outcome as soon as it has it, each by one write to a file
// that outlives them. Times are of CLOCK_MONOTONIC, which all processes share.
//
// What is checked of every call: docs/rpc-rows.md, and [check]. What a run was given of other
// calls is noted with it: it must be the results of those that its call names, of runs of
// theirs, and what their callers were told. Runs that are noted late
// because their server was frozen between the decision to run and the note of it are
// counted, not condemned: who is frozen cannot know.
//
// The exit status is 1 if a promise was broken. What it starts ends with it. A crash
// of it loses the run.
package main
