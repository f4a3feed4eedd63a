// Package workers runs calls in worker processes: it is an executor of a
// [server.Core] that keeps so many workers ready, gives each up to a number of calls
// at once, and replaces those that die.
//
//	            Execute                      CALL, CANCEL
//	Core ◀───────────────▶ Pool ── worker ◀───────────────▶ process (package worker)
//	      Return, Crash,     │        REPLY, ERROR             ▲
//	      Unstarted, Grow    │                                 │ starts, watches, kills
//	                         └── Starter, Process ─────────────┘
//
// Who makes the processes is a [Starter]: package direct starts them by itself, on a
// plain machine; the agent of a pod is another one.
//
// # A worker's life
//
//	             exec               handshake              a call
//	Starting ─────────────────────────────▶ Spare ──▶ Ready ──────▶ Busy
//	   ▲  │                                            ▲ │ answered │
//	   │  │ not within its time, or it ended           └─┼──────────┘
//	   │  ▼                                              │ it ended, its channel did,
//	   │ Backoff ◀─── had not yet served ─── Terminating ◀─ a call outlived its time
//	   │  │                                      │
//	   └──┴──────── at once: it had served ──────┘
//
// A worker that has answered, or was killed by what it ran, is followed by the next
// at once: crashing programs all day is normal where programs are tried out. One that
// ends before it has served anything is followed after 100 ms, and twice as long each
// time, up to 30 s; after five of them in a row the position is in a crash loop, which
// [Pool.Status] tells.
//
// # Slots
//
// The core starts no more calls than there are free slots: each serving worker adds
// its own by Grow when it can take calls, and takes them away before it cannot any
// more. So a call waits in the core's queue, where its deadline, its priority and its
// client's change of mind are heeded. A call that waits for others (Job.Aside) lends
// its slot: nested calls that lead back here find one.
//
// # Who reads
//
// Waking somebody up is most of what a short call to a worker costs, and there are four to wake. So
// the reader of the caller's connection sends the call and reads the worker's channel by itself
// until it is answered, if the method has been quick lately, nobody else calls by that connection and
// nobody else reads that channel: it looks for the answer as a client does, before it sleeps (package conn). When
// it is away for a millisecond another goroutine reads the caller's connection.
//
//	client ──CALL──▶ reader ──CALL──▶ worker
//	       ◀─REPLY──        ◀─REPLY──
//
// # Streams
//
// The items of a stream pass through here, one at a time and in both directions, from one
// connection to the other. Each is taken when the one before has gone on, and its sender is
// given credit when it is taken: what nobody reads stays where it was made. A stream that a
// worker has ended is over when its client has all items.
//
// # Blobs
//
// Each worker is a party of the server's host of blobs, if there is one: the socket to it goes
// with the first bytes of the channel, so that no starter has to know of it. What a call names is
// lent to its worker when it is sent, and that ends with the call, however that does. A worker that
// takes no blobs gets arguments that are in one in the message. A long result is made at the
// cost of who has called, which the host asks the pool: only for a call that runs there. A worker that
// names other results than its call was to have has not harmed anybody: the caller hears ReplyLost, and
// the worker serves on.
//
// # Room for results
//
// With [Options.Room], what results take on their way to clients is bounded: a long one has room before its
// worker may send more of it than what a message may have anyhow, and all have some until they are written to
// their client, or have gone into its connection's queue. Where there is none, they wait in their
// workers, and nothing is lost; a worker is not killed for an answer that waits. Calls wait for results so, and results for
// nobody but clients that read: it must be another room than that of what clients send, which calls
// have while they run. A client that does not read is closed while others wait ([server.Debt]).
// Clients within the process keep their part for ever: there are none where there is room.
//
// # A worker's death
//
// Whatever comes first, the end of the process or of the channel, takes the worker out
// of service, and a spare in. When both are there, and all that had arrived is
// answered, what is left is told to the core: calls of which not a byte was written
// are Unstarted, and run elsewhere; the others have crashed, with a report (package
// crash).
//
// Guilty is a call that ran alone: of several, any may have been the one, and a strike
// against a bystander is one step to refusing what never did harm. A killer among
// others is idempotent, then it is run again, on the least loaded worker; or not, then
// its caller calls it again, or nobody does. Sooner or later it dies alone, if it is
// worth a quarantine. Who wants certainty has one call at a time, which is the default.
// What was killed for its time is not guilty.
//
// # Time
//
// A worker hears of a call's end by its deadline, and by CANCEL. If it has not answered
// a grace later, it is killed with all below it, unless the method is Unkillable.
//
// A deadline is told as the time that is left when the call is sent, and, if the handshake
// has shown that both processes have the same CLOCK_MONOTONIC, as what that will show: a
// worker that reads the call late does not start it late.
//
// # What a crash loses
//
// Of a worker: what ran in it, each call with an error that says so. Of this process:
// the workers with it, as their channel ends; the core's journal knows what ran.
package workers
