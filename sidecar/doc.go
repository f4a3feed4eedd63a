// Package sidecar is the RPC server of one device: it owns the listening
// socket, the ticket, the deadline's length and the truth about how a session
// ended. It speaks TVM's handshake to clients, TVM's tracker protocol to the
// tracker, and the agent protocol (package supervise) to the agent that runs
// the workers.
//
// Nothing of a session passes through it. After the handshake the connected
// socket itself goes to a worker process; the sidecar keeps a duplicate, from
// which it never reads: it watches it for the client's going away, asks it for
// TCP's byte counts, and writes an exception packet to it when the worker is
// dead and cannot.
//
//	clients ──TCP──▶ door ──claimed──▶ core ──start, session, kill──▶ agent ──▶ worker
//	                  ▲                 │ ▲ ◀──ready, exited──────────┘         ▲
//	                  │ ticket          │ └─ client gone                        ║
//	                  │                 ▼ state                                 ║
//	                tickets ◀─open── offer ──UPDATE_INFO, PUT──▶ tracker        ║
//	   ╚═══════════════════════ the session's bytes ════════════════════════════╝
//
// One goroutine, the core, owns all state; the door, the offer loop and the
// watcher of the client's socket only send it events. The device's state, as
// the tracker sees it:
//
//	           worker ready, probe passed          ticket claimed
//	starting ───────────────────────────▶ free ───────────────────▶ busy
//	   ▲  ▲                                │ ▲                        │
//	   │  └── no spare, or agent lost ─────┘ └── tree dead, reported ─┤
//	   │                                     no worker ready: starting│ outlived SIGKILL
//	   └── start succeeded ── quarantined ◀───────────────────────────┘
//
//	any ── drain ──▶ draining (a session in progress may finish)
//
// # The tracker
//
// The offer loop holds one connection to the tracker. When it ends, the loop
// dials again, by name, 50 to 100 ms later and then with pauses of up to a
// second; a dial or a call is given up after 3 s. Each connection begins with the
// whole truth: who the server is (its name and instance, such as a pod's), its
// state, the session in progress with its client, which limits the machine does
// not enforce, and a ticket that no other tracker has seen.
//
// # RDMA
//
// A server that was promised RDMA devices looks at them every 5 s and when an interface changes (package device),
// and tells the tracker what is true of them, with its state; it is not offered before
// it has looked once. News of that do not touch an offer or a session. Where RDMA is required, a device whose worker is
// ready is withdrawn (quarantined) as long as they cannot be used.
//
// # Probes
//
// [Server.Ready] is true while the device is offered (its ticket is with the
// tracker) or in a session, one that is drained included. [Server.Alive] fails
// only where a new process helps: the core's loop hangs, or no client can be
// accepted.
//
// # The end of a pod
//
// Agent and sidecar may be told to stop in any order. Either withdraws the device
// at once; a session may go on until the drain time of either is over, and its
// end is on record before the sidecar ends. The agent ends when it has no more
// sessions; the sidecar does not wait for another agent when it is told to stop
// itself.
//
// What a crash of the sidecar loses: the exception packet of the session in
// progress and the record of it. The session itself goes on (the worker holds
// the socket, the agent the deadline), and the next sidecar waits for its end
// before it offers the device again.
package sidecar
