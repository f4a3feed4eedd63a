// Package calls is a server of native calls whose handlers are worker processes: what
// `rpcpool serve --protocol rpc` runs. It puts together what rpc/... has:
//
//	native ─┐                 ┌▶ Door ─────┐
//	        ├─ TCP, Unix ──▶ Port          ├─▶ Core ──▶ workers.Pool ──▶ Starter ──▶ processes
//	gRPC ───┘                 └▶ grpcdoor ─┘    │ ▲          │
//	                                         journal      Metrics, Ready
//
// The server knows no methods: any name is given to the workers, which refuse what they
// do not have (Unimplemented, NotExecuted).
//
// # A server's life
//
//	New ──▶ starting ── a worker is ready ──▶ ready ── ctx ends ──▶ draining
//	           ▲                                │                     │ nothing runs, or
//	           └──────── no worker serves ──────┘                     │ the time for it is over
//	                                                                  ▼
//	                    closed ◀── clients are sent away ◀── workers are ended
//
// [Server.Ready] is true in the state ready. [Server.Alive] fails only where a new process
// helps: the core's lock is not to be had.
//
// # What is kept
//
// With a journal, the table of calls survives this process. Replies are kept up to a
// quarter of the journal, so that there is always room for what the table holds, and
// for as much again of starts and ends.
//
// # What a crash loses
//
// The workers end with this process, and what they ran is Lost (Indeterminate) in its
// next life; what had ended is answered from the journal. Without one, clients learn
// that the table is gone.
package calls
