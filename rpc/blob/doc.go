// Package blob keeps what is too large to go through a call: blobs, which a call
// names by a handle of 64 bytes, whatever their size.
//
//	owner ── Allocate, Share ─▶ Table ◀─ Begin, End ── server, for each call
//	           ◀── Handle ──      │  ▲
//	                              │  └── Locate, Acquire ── whoever has a handle
//	                       Need,  │
//	                       Retired▼
//	                            memory of a transport: package shm has it
//
// All of this package is pure: no I/O, no goroutines, no clock; times and random
// numbers are passed in. [Table] says which bytes of which segment are whose; it never
// sees a byte of them. What it wants comes out as values: a [Need] is an operation that
// waits for a segment, [Table.Retired] are segments to be given back, a [Copy] is bytes
// to be copied. Package shm is the shell around it that has the memory, shares it
// between processes of a machine, and sees them die.
//
// # Handles
//
// A [Handle] is of a range of a blob, with rights: to read, to write. Its token is a MAC
// of everything that it says, by a key that only the table has; so nobody makes a
// handle but the table, and the table keeps nothing for one that it has made.
// [Table.Slice] makes a narrower one of any; nothing makes a wider one. An id is used
// again, with the next generation: a handle of what has been freed is of nothing,
// for ever. The domain is another one in each life of the process that has the table.
// The handle that [Table.Join] gives is of an account: who has it may have results
// made at the cost of that party.
//
// What a callee gets as an argument is as good as what its caller had, also after the
// call, and it may pass it on; what it gets to make a result is not: with the call's end
// the result has another handle. So has an argument that its owner wants to use again, for another
// call ([Table.Again]), and only if nobody else has anything of it: what callees know of the last
// use is of nothing then, and what they hold is not written to. Its owner may still let it go by
// the handle from before, if it has not heard of the new one.
//
// A handle is a key. It goes where calls go, and into no log: [Handle.String] leaves
// the token out.
//
// # A blob
//
//	                Allocate               Share
//	freed ────────────────────▶ allocated ────────▶ shared ──┐ Share, Slice,
//	  ▲ ▲                          │   ▲               │  ▲  │ Acquire, Begin
//	  │ │            Free, Leave   │   │ End: success  │  └──┘
//	  │ └──────────────────────────┘   │               │ Free, Leave of its owner
//	  │                              pending           ▼
//	  │                                ▲           draining ── no new users
//	  │                                │ Begin: out    │
//	  └── nobody uses it any more ─────┼───────────────┘
//	                                   │
//	      End: no success ◀────────────┘
//
// References keep a blob: its owner's, until Free; one for each Acquire, which ends by
// Release, or with its own lease; one for each argument of a call, until Settle. With a
// party go the references that it has for itself. Those of a call stay until its server
// has said how it ended, because the callee may have replied and then gone. If nothing
// is said within [Config].Grace of the callee's death, half a second, the call counts
// as crashed: [Table.Expire] names it, to be ended so.
//
// Who writes is alone: bytes that somebody uses as InOut or Out nobody else uses, and
// what is in the way is [ErrBusy]. The owner itself is asked to keep away from what it
// has lent; it has the memory, and nothing here could stop it.
//
// # Arguments of calls
//
//	mode              the callee       success            error            crash
//	in                reads            –                  –                –
//	out               reads, writes    the caller's       never seen       never seen
//	inout             reads, writes    as written         as written       dirty
//	inout, snapshot   reads, writes    as written         as before        as before
//
// Dirty bytes are nobody's, until the owner accepts them; a call that leaves some
// must not be run again by itself ([Ended].Dirty). A snapshot is copied when the call
// begins, and back when it fails; without one nothing is copied.
//
// # Memory
//
// Segments are what processes map, as a whole, once. So a segment has one owner's
// blobs only, and those that others may write are in other segments than those that
// they may only read. Within one, a blob is a run of whole pages, of a size class (four
// to a doubling: less than a fifth is wasted, beyond four pages). Runs that are free
// together are one; a blob that is larger than half of the largest segment has one for
// itself. A group's next segment is as large as all before it, so there are few. Empty
// ones are kept for ten seconds, or until others need the memory.
//
// # What is bounded
//
// [Limits]: the memory of all segments; bytes, blobs and references of a party, and twice its bytes
// of segments, so that one who leaves holes takes no more than that; parties. What
// exceeds one is a [QuotaError], which says what there is and changes nothing. What is only kept
// or made because it saves time is half of these at most ([Table.Again], [Table.Room]).
//
// # The seam for calls
//
// All handles in a CALL are of the domain of the server that gets it, whose workers and
// clients are parties there.
//
//   - HELLO: the feature blobs says that a peer knows what follows; shared memory, that it
//     can map what is on its machine.
//   - BLOB_OFFER: a client that wants blobs asks by an empty one; the server's answer has the
//     domain, a ticket that lets this client in as long as the connection lasts, and the Unix
//     socket of the host. The client joins there, or by a way of its own over the network.
//   - BLOB_GRANT: the client's account: what is long of the results of calls on this
//     connection may be made at its cost.
//   - CALL and REPLY: extension 11 is one byte, the number of blobs, 1 to [MostArgs]. So many
//     arguments of [ArgLen] bytes ([AppendArgs], [ParseArgs]) precede the body of the message.
//     They count to its length, and to the hash of the call's arguments, so that a call that
//     comes again with other blobs is refused.
//   - The last argument, with Body, has the body of the message, of which nothing follows then: so a
//     program sends what it likes, and what is shorter than a threshold (64 KiB) just is in the
//     message. The others are named by the body, by their number: in CBOR, a codec.BlobRef of
//     one byte.
//   - The server, when a call's turn has come: Begin, with the worker's party, the
//     Copies, and then the CALL to the worker with the arguments of the [Loan] in place
//     of the client's; those say where the bytes are, too, so the worker need not ask. A
//     server takes no such thing from a client: it ignores Segment and Offset. [ErrBusy]
//     and [ErrQuota] are refusals: NotExecuted, to be tried again later. All other errors
//     are the caller's: NotExecuted. A call that is run again begins again.
//   - A worker whose result is long asks for a blob that its caller pays for (Extend), and
//     replies with it. Nothing is said before, so calls whose results are short cost nothing.
//   - An argument with Again, of a client that has the feature: the server says by a BLOB_GRANT of its own, before
//     the REPLY, by which handle the client may put the next one there. So a client that makes one call
//     after the other asks the host for nothing.
//   - A worker whose results were long gets room for the next one with its CALL (Room), and need not ask either.
//   - The server, when the worker has replied, or is dead: End, the Copies, Settle, and
//     then the REPLY, with an argument of mode Out for each result. A result is the
//     caller's, until that frees it, or leaves. Who does not hear of one frees it when it does.
//
// A transport to other machines joins a party for each client there, and has it leave when
// its lease is over. Bytes that it moves it has borrowed ([Table.Borrow]): that they stay
// where they are does not end with the party, for a device may still write there.
//
// # What a crash loses
//
// Of a party: what it had, at once or with its lease; others keep what they use. Of a
// callee: nothing but its results; see the table above. Of the process that has the
// table: all blobs. The next one has another domain, so that what was known of the old
// ones is refused and never mistaken.
package blob
