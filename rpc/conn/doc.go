// Package conn carries messages between two processes of the native call path:
// one connection ([Conn]), the peers of a service and the connections to them
// ([Pool], [Service], [FrontEnd]), and the accepting side ([Server]). It knows
// frames, priorities and credit; what a call is, is its caller's business.
//
// # Shape
//
//	caller ─ Send ─▶ queue ─▶ working goroutine ── writev ──▶ socket
//	                   ▲            │ would block
//	                   │            └─▶ temporary goroutine, ends when all is sent
//	                credit
//	                   │
//	Handler ◀─ Message ─ reader, one goroutine for each connection ◀── socket
//
// # The sender
//
//	       Send, nobody writes               the socket is full, or 1 ms or 1 MiB
//	idle ───────────────────────▶ caller's ─────────────────────────▶ temporary
//	  ▲    (Queue: nobody, yet)   goroutine    of others' bytes        goroutine
//	  │                               │ nothing left                      │
//	  └───────────────────────────────┴───────────────────────────────────┘
//
// Whoever finds nobody writing writes: first its own message, then what others
// have put into the queue meanwhile, who return at once. A write never waits;
// what the socket does not take is left to a goroutine that may, and that goes on
// with the queue. If several callers are known to be at work, the writer lets
// them run once before it writes, so that one system call takes what they have; when that is
// enough, the one who has brought the last of it writes.
//
// The queue has control, which goes first, and three lanes that share the rest
// 8 : 4 : 1. Short messages of a lane stay in order. A long one is cut into
// chunks, and takes turns with what comes after it. First frames of a lane's
// messages always leave in the order in which they were sent. Bodies of
// [LongBody] bytes and more are written from where they are.
// While short messages pass long ones, the kernel is given little at a time.
//
// # The reader
//
// One goroutine reads, cuts and hands over, a few messages at a time: their answers are on
// their way before the next are looked at. The body of a long frame is read to
// where it belongs, and with it the chunks that are expected behind it; what was
// expected in vain is put right. A long reply is read straight to its caller's memory, if
// the handler is a [Lender]. While one call alone is outstanding, its caller
// may read instead ([Conn.ReadUntil]); and what the only message asks for that has come, the
// reader may do itself, until it takes too long ([Conn.Last]). Who waits for one message
// looks for it for 50 µs before it sleeps, where that has proved to be sooner; and who has several
// callers, where it mostly finds something. Who sleeps is woken by what comes, and nobody else is (package socket); between a server and its worker
// nobody is where both look, as their bytes are in memory that both have (package ring). Whoever breaks a rule of the wire is told
// which, in a GOAWAY, and left; docs/protocol.md has the rules.
//
// # Credit and memory
//
// What a peer has sent and the [Handler] has not let go of is bounded by the
// window, which starts at 1 MiB and grows with the product of bandwidth and round
// trip, and by [Options.MaxAssembly] for long messages, which wait for their
// turn. Even the shortest of them takes 4 KiB of it, so their number is bounded. What waits to be sent is bounded by [Options.MaxQueue]: then senders
// wait, or are told. A reader never waits for its handler's memory, so control
// frames always pass.
//
// # A connection's end
//
//	open ─ GoAway ─▶ draining ─ nothing held, or grace over ─▶ closed
//	  └─ EOF, cut, EPIPE, silent, slow, malformed ───────────────▲
//
// After a failed write the reader takes what has arrived already. The end is told
// once ([Handler.Closed]), with the reason and the calls of which not a byte has
// left this process: these have not run.
//
// # A front end
//
//	             Acquire                dialled
//	DISCONNECTED ───────▶ CONNECTING ───────────▶ CONNECTED ──┐
//	   ▲  ▲                    │ failed               │  │      │ removed from
//	   │  │ backoff over       ▼                      │  │      │ the list
//	   │  └───────────────── EPIPE ◀── broken ────────┘  │      ▼
//	   └───────────── idle, GOAWAY ──────────────────────┘   DRAINING
//
// A connection is made when something is to be sent, once for all who wait, and
// under no lock of others. References are counted from the moment of selection,
// in one word with the bit that says that the connection is being closed: so a
// connection with a reference is never reaped, and one that is reaped is never
// handed out. A front end that failed is left alone for a while, and then tried again
// when something is to be sent; but others of the same service are taken instead until
// it has answered, so that nobody waits for one that does not.
//
// # What a crash loses
//
// Everything here is in memory. What had not been written has not run; of the
// rest the session above finds out by asking again.
package conn
