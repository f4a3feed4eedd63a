// Package supervise holds what the sidecar and the agent share: the state
// machine of a worker's life, the closed enums of causes and limits, the
// protocol between the two programs, and the sidecar's end of it.
//
//	sidecar ── Unix socket (SOCK_SEQPACKET: one JSON message a packet) ── agent
//	  start, session (+ descriptor), kill, ack  ──▶
//	  ◀── hello, adopt (+ descriptor), started, ready, ended, exited (+ descriptor), unkillable, stopping
//
// The agent (package agent) is the process above the workers: it starts them,
// keeps their deadlines, kills their whole trees and reaps them. It decides
// nothing else and knows no RPC protocol, so it is small enough to trust as
// PID 1 of a device container.
//
// # One machine
//
// [State], [Input] and [Transitions] are one pure machine for both programs.
// [Life] is one worker as the agent knows it: the machine, driven by what the
// kernel says and by the clocks of deadlines, budgets, heartbeats and graces.
// [Crew] is all workers of a server as the sidecar knows them: the machine,
// driven by the agent's events, and the policy: when to start a worker, which
// one serves, when to pause, when to hold. Neither does I/O, has a clock or a
// goroutine: time is passed in.
//
//	         start                     spare (one session)
//	Stopped ──────▶ Starting ─────────────────────────────▶ Spare ───────┐ session
//	   ▲               │  │ ready (long-lived)                           ▼
//	   │               │  └──────────────▶ Ready ◀────── ready ──────── Busy
//	   │               │                     │  └───────── session ──────▶│ │
//	   │               │ term, drain         │ term, drain               │ │ drain
//	   │               ▼                     ▼              term         │ ▼
//	   │            Terminating ◀────────────┴───────────────────────────┤ Draining
//	   │               │ kill, exit         (kill and exit lead from     │ │ ready, term
//	   │               ▼                     every state with a process  │ │
//	   │            Reaping ◀─────────────── to Reaping) ◀───────────────┴─┘
//	   │ gone          │ outlived
//	   ├───────────────┤
//	   │ gone          ▼
//	   ├─────────── DeviceFault (hold)
//	   │
//	   │ failed                hold
//	   └──────────▶ Backoff ─────────▶ CrashLoop (hold)       both: start ──▶ Starting
//	                                                          both: healthy ─▶ Stopped
//
// # What a crash loses
//
// The sidecar's crash loses the policy's state (pauses, holds). Sessions go on;
// its successor gets their descriptors, and is told every end that was not
// acknowledged. The agent's crash loses the sessions of its workers, which die
// with it, and the ends that no sidecar has heard of.
package supervise
