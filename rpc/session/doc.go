// Package session holds the state machines of remote procedure calls that run at
// most once: [Client] is the calling side, [Domain] the side that is called.
//
//	program ── Invocation ──▶ Client          Domain ──▶ Entry ── worker
//	                            │  Hello, Call,  ▲ │
//	                            │  Cancel, Ack   │ │ Record
//	                            └── messages ────┘ └────▶ journal
//
// Both are pure: no I/O, no goroutines, no clock; time and random numbers are
// passed in. Events go in as method calls, what is to be done comes out as values
// that are appended to a slice: [Demand] of a Client, [Effect] of a Domain. A shell
// around them has the sockets, workers and files. The simulator in package sim is
// such a shell too, so what it has tried is what runs.
//
// # What is promised, and who keeps it
//
//  1. A call returns a result, and then it ran exactly once; or an error that is
//     NotExecuted (it did not run and never will), Executed (it ran exactly once),
//     or Indeterminate (it ran once or not at all). For idempotent calls, once means
//     at least once. The Domain keeps it by its table, over crashes by its
//     journal; the Client by never letting a call that may have left it run at
//     another server, unless it is idempotent.
//  2. After an error, later beats earlier: once a call has an outcome, it does not
//     start at a server that has received a call which the client made afterwards.
//     The Client keeps it: such a call says what is closed, a session says which ones
//     before it have ended, and waits until one beside it has confirmed what is closed
//     there. The Domain heeds that before it considers the call.
//  3. A call whose outcome is DeadlineExceeded does not start any more, whatever
//     else was heard: the Client tells each server the deadline on that server's own
//     clock. One whose outcome is Canceled and Indeterminate may, until its deadline,
//     or until promise 2 holds for it.
//  4. Calls of a session in the same lane run one after the other, by sequence
//     number, at any one server: also if one of them was abandoned while it ran. The Domain
//     keeps it. A session that takes another's place waits for what still runs of that, in
//     the same lane, and of those before that. One that begins beside another does not,
//     until that has ended: see below.
//  5. The crash of a worker is an outcome, but of a call that is idempotent or whose
//     handler keeps records. The same call (method and arguments) that
//     has killed several is not run for a while.
//  6. Memory is bounded: by the calls that are open, a fixed number more that have
//     ended and are not acknowledged yet, and a budget for replies.
//
// Not promised: an order among calls that are in no lane; that a table is known
// after the loss of its journal (calls are then Indeterminate, none runs again).
//
// # Identities
//
// A [Session] is one client at one server: a random identity, a random secret that
// proves it, and sequence numbers from 1 on, which are not used again. [XID] is
// session and number. A call that moves to another server is a call of another
// session there: so what one session acknowledges never depends on another server.
// A server that does not know a session that was welcomed before says so; it never
// opens it anew. That is how a client learns that a table is gone, or has expired
// it. A Hello that opens a session is sent once, so that a late one does not open
// again what has expired; the next connection has another identity, as long as none
// was welcomed. A session that takes another's place names it, and that one ends
// first: each that the client has left, and whose domain is the one that welcomes it. So
// a server is known that has left the list of servers and is there again, by whatever
// name. Its lanes run on in those of the session that has named it. What goes on beside that one is not
// named, and its lanes are its own: the Domain cannot know that both are of one client, and that does
// not hear when what it has given up has ended. [Handshake.Life] tells a restart of the same table, after which idempotent
// calls may have run although nothing is known of them.
//
// # A call at its client
//
//	        Assign            Transmit                    Reply
//	idle ──▶ pending ────────▶ sent ────────────────────────────────▶ finished
//	   ▲        │ Unreachable   │ │ Cancel                              ▲ ▲ ▲
//	   │        ▼               │ ▼              Reply, GiveUp          │ │ │
//	   │     routing ◀──────────┘ canceling ─────────────────────────────┘ │ │
//	   │        │    unsent, refused, or                                   │ │
//	   │        │    idempotent and its server silent or dead              │ │
//	   │ Assign │                                                          │ │
//	   └────────┴── NoServer ──────────────────────────────────────────────┘ │
//	  pending, or sent and Unsent: Cancel ends it at once, NotExecuted ──────┘
//
// A connection that is lost changes no state: when the session is up again, what
// was sent is sent again, and the table at the server sorts it out. Only the newest
// connection is listened to: an older one may bring what a server's last life said
// of a call that its present life runs. If a server finds the deadline of a call
// passed that was elsewhere before, the call waits for its own clock: the other may
// still start it.
//
// # A call at its server
//
//	          CALL           its turn        Take              Start
//	(absent) ─────▶ waiting ─────────▶ queued ────▶ taken ─────────────▶ running
//	    │            in a lane           ▲ │  │       │ journal: start    │   │
//	    │                                │ │  │       │                   │   │ Return,
//	    │ CANCEL                         │ │  │       │ deadline, cancel  │   │ Crash
//	    │      Unstarted, or Crash and   │ │  │       │                   │   │
//	    │      idempotent ───────────────┘ │  ▼       ▼                   │   ▼
//	    └──────────────────────────────────┴──────▶ done ◀────────────────┼───┘
//	                        Refuse, deadline, cancel │ journal: end       │
//	                                                 │                    │ closed
//	                       closed by ack, fence, Bye, lease               ▼
//	                                                 ▼                 orphan
//	                                                gone ◀── Return, ─────┘
//	                                                         Crash
//
//	CALL of what is Lost, whose handler keeps records (Recorded): queued again.
//	CALL of what is waiting to running: InProgress. Of what is done: its reply.
//	Of what is closed: nothing. With other arguments: the connection is closed.
//
// done covers definite errors too: a call that was refused, cancelled or too late
// stays in the table, so that no copy of it can run until its client has closed it.
//
// # What is closed
//
// A client closes a sequence number when it has its outcome. Every message says up
// to where all are closed (the watermark). What is closed above it is told by a
// [Fence]: the list of what is open, up to the last number that was given; all else
// is closed. A fence is sent by itself when a call is given up and after 64 others,
// with a Hello, and with every Call from when a call above the watermark was given
// up until the server has confirmed it. It is the whole truth each time, with a
// version: it does not matter which of them arrive, by which connections, in which
// order. Calls that nobody has given up cost not a byte.
//
// # What needs the results of others
//
// A call may need the results of calls of the same session that come before it ([Needs]). It is
// waiting, when it is its turn in its lane, until they are done: then it is queued, and the
// shell puts the results into its arguments. If one has no result, or is closed, it is done
// itself: Unmet, NotExecuted. As a call needs only what comes before it, none waits for
// itself, and one pass over those that wait settles chains of any length.
//
// The client names a call only where that is open ([Promise]), and leaves it open there until
// nothing that needs it is, so a call that is sent again finds what it found before. What else
// can be known of the result it finds out by itself: an Unmet call waits at the client, for
// the other's own outcome, and goes on with whole arguments. So promise 1 holds for each of
// them, and a run gets what a run of the call that it needs has returned: of the one run, or
// if that is idempotent, of one of them.
//
// # Sessions
//
//	          Hello               any message       Bye, lease over, or another
//	(unknown) ─────▶ open ─────────────────────▶ open ──────────────────────▶ (unknown)
//	    │                                             takes its place
//	    └── Hello with Resume, or any message on an old connection: Gone
//
// A lease ends when nothing was heard for so long. A client renews it by Ping, and
// does not resume a session of which it has heard nothing for four fifths of it.
//
// # Deadlines
//
// Welcome and Pong say what the server's clock shows. The client takes it for the
// time of their arrival, so it thinks the server's clock to be slower than it is;
// it allows for one clock being faster than the other by 1/1024. A deadline that is
// converted with this is early by no more than the delay of that message and 1/1024
// of the time since, and late never: not by delay in the network or in a buffer, and
// not because a process was stopped. A machine that is stopped is another matter, if
// its clock stops with it.
//
// A call starts when Start says so. Its handler's first instruction may come later than
// the deadline, if its process has to wait for a processor: it can see that by then. A shell
// that hands calls over to other processes, or puts them into a queue of its own, looks at the
// deadline again there, and says Decline.
//
// # What a shell must do
//
//   - Carry demands and effects out in their order; those after an Append when that
//     is as durable as it wants. Append and Interrupt are carried out at once.
//   - Number connections upwards, on both sides, and use no number twice.
//   - Say Unsent only of what no byte has left of, and by which connection.
//   - Add another Peer for a server that was Dead and is there again. It may do so before
//     that one is: Retire lets it have no new calls, and what is open there goes on.
//   - Look at the clock once where a caller's deadline is put on it: a thread that is
//     stopped between two looks makes it late.
//   - Check what it decodes: a Message has a Greeting where its kind wants one.
//   - Restore a Domain only when the workers of its last life have ended; give it
//     all whole records of its journal, or another identity and none of them.
//   - Put results into arguments when it is told to, before it does anything else with a call
//     (Queue of a [Entry.Needy], [Supply]).
//   - Ask Start just before a hand-over. Cancel a running handler at its deadline.
//   - Call Client.Cancel when a caller's context ends or the call's deadline comes, and
//     Client.GiveUp when the answer to that is not worth waiting for any longer.
//
// # What a crash loses
//
// Of a client: its sessions. Its calls may run; the servers forget them with the
// lease. Of a server with a journal: nothing, but calls that were running are Lost
// (Indeterminate), and idempotent ones run again. Of a server without: its table.
package session
