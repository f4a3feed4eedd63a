// Package supervise holds what the sidecar and the agent share: the closed
// enum of causes, the protocol between the two, the sidecar's end of it, and
// the pure state machine that decides when a worker is started, kept warm,
// handed a session, killed and replaced.
//
//	sidecar ── Unix socket (SOCK_SEQPACKET: one JSON message a packet) ── agent
//	  start, session (+ descriptor), kill  ──▶
//	  ◀── hello, started, ready, exited, unkillable
//
// The agent (package agent) is the process above the workers: it starts them,
// keeps their deadlines, kills their whole trees and reaps them. It decides
// nothing else and knows no RPC protocol, so it is small enough to trust as
// PID 1 of a device container. Everything that is policy is here, in [Life], as
// a pure function of events and time.
//
// A worker's life:
//
//	             start                ready               session
//	(Stopped) ─────────▶ Starting ─────────────▶ Spare ─────────────▶ Busy
//	    ▲                  │   └─ cold: session ────────────────────▶  │
//	    │                  │ exit, start deadline                      │ exit, deadline,
//	    │                  ▼                                           │ client gone, drain
//	    │               Backoff ◀── exit before ready ──┐              ▼
//	    │                  │ N failures                 │         Terminating ── outlives
//	    │                  ▼                            │              │         SIGKILL
//	    │             Quarantined ── re-probe ──▶ Starting             │            │
//	    └────────────────────── tree gone, work directory removed ◀────┘            ▼
//	                                                                           DeviceFault
//
// What a crash loses: the sidecar's crash loses the policy state, which is
// rebuilt from the agent's hello; the agent's crash loses the sessions of its
// workers, which die with it.
package supervise
