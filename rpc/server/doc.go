// Package server is the side that is called: the dedup table of package session
// with a journal, a queue and somebody who runs what is called, behind any number of
// doors.
//
//	native frames ─ Door ──┐                         ┌─▶ Local: handlers of this program
//	gRPC          ─ ...  ──┤ Line ─▶ Core ─ Job ─▶ Executor
//	                       │          │ ▲            └─▶ workers: processes under supervision
//	                       └◀─ Tell ──┘ └─ Return, Crash, Unstarted, Decline
//	                                 │
//	                         Domain · queue · journal
//
// # One event
//
// All that happens (a message, an end of a run, a tick) is one turn: under one lock
// the Domain is told, what it wants journalled is journalled, and the queue gives
// out what may run now. Sends and runs are carried out when the lock is free again,
// by whoever brought the event; so a reader that brings a call starts it, and a
// handler that ends sends its own reply.
//
//	          Queue              Pop, Take           Start
//	message ───────▶ waiting ──────────────▶ taken ─────────▶ running ──▶ Return
//	                    │ full, hopeless        │ no journal      │
//	                    ▼ draining              ▼                 ├──▶ Decline: did not run
//	                 Refused                 Refused              ├──▶ Unstarted: runs again
//	                                                              └──▶ Crash: policy of session
//
// # Blobs
//
// With a [Host], calls may name blobs, which is in front of their arguments. The executor borrows
// them for a run ([Job.Lend]), the core ends that, whatever the end is, and names the results in the
// reply. A run that leaves a blob half written is the last. Handlers of this process have theirs
// by [Local.Lend]. Results that are blobs are not journalled: they die with the process.
//
// # In a worker
//
// Bare is the door of a process that only runs calls: its parent is its only client and
// has the table. It makes the same jobs, and Local runs them.
//
// # The journal
//
// With it, the table survives the process: what was started and has no end is Lost
// (Indeterminate) in the next life, what has ended is answered. A start that cannot be
// journalled is not made, nor one for whose end no room would be left. Other records that find no
// room make the next life know less, never more: first results are left out (ReplyLost,
// Executed). Under the policies
// that wait for the disk, what follows a record waits until the disk has it.
//
// A journal that cannot be written, or whose disk fails, is [Core.Broken] for good. What is not
// idempotent is refused then, also what was about to start; the rest goes on, and what has
// run is answered: its start was on disk, so it does not run again, whatever the disk has of
// its end.
//
// # What a crash loses
//
// Without a journal the table: its clients find another domain, and calls that they
// had sent are Indeterminate. With one, nothing that was answered or started.
package server
