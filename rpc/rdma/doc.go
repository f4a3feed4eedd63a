// Package rdma moves bytes between the memory of two machines by RDMA: who wants them
// reads them out of the memory of who has them, and neither's processor touches them.
//
//	who has the bytes                         who wants them
//	─────────────────                         ──────────────
//	Register(segment, Source)                 Register(segment, Sink)
//	Describe(range) ── Descriptor, by TCP ──▶ Pull(descriptor, into a range)
//	                                            ║ RDMA READ, 1 MiB each, 16 under way
//	memory ◀═══════════════ NIC ⇄ NIC ══════════╝ ▶ memory, which others may have mapped
//	 may be used again ◀── done, by TCP ────  Pull returns
//
// It knows no blobs and no connections: package verbs has the devices below it;
// descriptors and offers are bytes, which whoever uses this carries over a connection
// that knows its peer. [Adapter] is a device, [Region] memory that it may access,
// [Endpoint] a queue pair to one peer. What becomes of a pull that fails, and when there
// is to be another endpoint, is decided by who pulls: an [Error] has the [Reason].
//
// # An endpoint
//
//	         NewEndpoint         Connect             bad completion, nothing completes
//	(none) ─────────────▶ offered ─────▶ ready ──────────────┐ within Stall, Close
//	                         │                               ▼
//	                         │                    broken: queue pair in ERR,
//	                         │                    READs under way are flushed
//	                         │                               │ all of them, or: the
//	                         ▼                               ▼ queue pair is destroyed
//	                       closed ◀────────────────────── quiet
//
// Nothing mends a broken endpoint: both sides make new ones and exchange offers again.
// Where an endpoint is in the network is looked up for each ([Options].Locate), since
// indexes of GIDs move; it is looked at again when it is connected, and checked after.
//
// # Who may access what
//
// Memory that is a Source may be read by a peer that knows its key, and by nobody be
// written. Memory that is a Sink is written by the own device, with what it reads, and
// no peer gets at it by any key. A segment is registered when it first becomes one or the
// other, and stays so until it is given back, so that neither a blob nor a change of one
// costs a registration. A key is of the whole segment, since a memory window for each
// blob would be bound before each transfer and invalidated after it, and all of a
// segment is its one owner's: who may read something of it could read all of it, as could a process of
// this machine that has it mapped. A segment has one owner's blobs only. What is
// registered for one transfer may be of Go's heap; what stays registered must not: its
// address says nothing of what Go has there later.
//
// # When memory may be used again
//
// [Endpoint.Pull] returns when the device writes nothing more of that pull, however it
// ends: all READs have completed, well or not, or the queue pair is destroyed. A context
// that ends stops new READs and waits for those under way. If no completion comes for
// Stall, the queue pair is put into ERR, and flushes; if not even that ends within
// Drain, it is destroyed, which the device has to obey. If that fails, too, the error is
// [ErrStuck]: the memory must never be used again, and [Region.Close] will not give it
// back.
//
// Who has the bytes keeps them until it is told that the pull is over. If nobody tells
// (its peer is dead) it closes the endpoint first.
//
// # Waiting
//
// Whoever pulls drives its endpoint; there are no goroutines. Of several at once one
// does it for all, and each gets its turn to post. It polls for some microseconds and
// then sleeps in Go's poller until the device has an event. READs under way never are
// more than what the own device can have and the peer's can serve, which its offer
// says: these are the credits. A small range needs none; its bytes are in the descriptor.
//
// # What a crash loses
//
//	dies         what becomes of the other side's pulls
//	who has      they end as [Silent] when the NIC has tried often enough: half a second
//	             to some, by the device; or as soon as its Context ends and READs are back
//	who wants    (the peer's memory stays readable until its owner closes the endpoint)
//	the link     as with who has
//
// The kernel closes what a process had before it gives its memory to others.
package rdma
