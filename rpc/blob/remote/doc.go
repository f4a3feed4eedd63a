// Package remote lets a process of another machine have blobs of a [shm.Host]: it is a
// party of the host, over connections of its own to the port where calls go.
//
//	Client ── bulk connections: ask, answer ──────────▶ Server ── party of ──▶ shm.Host
//	  │        bytes: user's memory ⇄ socket ⇄ segment    │                       │
//	  └─ Mover ════════ bytes by other means (RDMA) ════ Mover ══ segments ═══════┘
//
// A [Client] is to a far host what a shm.Peer is to a near one, but for the memory: what
// it has is there, and bytes are put and got. A [Server] has the other ends.
//
// # A connection
//
// It is one of calls until its handshake is over: TLS, token, and the bounds of what
// nobody has vouched for are the same ([frame.FeatureBulk]). It does one thing at a
// time: the client asks, the server answers; so a client has several. Bytes go in frames
// of 256 KiB at most, straight between the socket and the segment: the server reads into
// the memory that others have mapped, and has the kernel send out of it (sendfile),
// unless TLS is in between. Small calls have connections of their own; for the processors, who moves
// bytes gives way to them between two frames (package giveway).
//
// # A party
//
//	          JOIN                    said nothing for the lease
//	(none) ─────────▶ joined ──────────────────────────────────▶ gone: all it had is free
//	                  ▲    │ JOIN with the same secret,            ▲
//	                  └────┘ over any connection                   │
//	                       └───────────── LEAVE ───────────────────┘
//
// The client chooses the secret, at random; who has it is the party. All that a client
// says renews the lease, bytes included; when it has nothing to say it says RENEW. A
// party that is gone does not come back: its client is of no use any more ([ErrLost]).
//
// # Putting
//
//	          PUT: quota, room          all bytes, READY
//	(none) ───────────────▶ granted ─────────────────────▶ checked ─ sum is right ─▶ done
//	   │ refused: not a        │  ▲                            │
//	   ▼ byte has left         │  │ PUT again: the offset      └── wrong ─▶ failed
//	                  cut ─────┘  └ from which to go on
//
// A transfer has a number, of the client's choice. With the same number it may be asked
// for again, over another connection: whatever was lost in a cut, nothing is allocated
// or written twice. What has ended is remembered until the client says that it knows
// (ack in the header), or that it gives the transfer up (FORGET). By that number nothing is begun any more: what asks
// for it was on its way over a connection that was slower, and what came of it would be nobody's. So it is with
// references. The checksum (CRC-32C) is over the whole, as both sides have it.
//
// # Copying
//
// A blob that begins with bytes of another one (COPY) is a transfer, too, whose bytes are
// there: the server copies them, with pauses for small calls, and none comes to the
// client and goes back. A server from before that is not asked ([frame.FeatureBulkCopy]).
//
// # Getting
//
// The bytes stay where they are, and nobody writes them, until the client has said that
// it has them: the kernel sends pages, not copies, and sends them again if it must. A
// client that takes longer than [ServerOptions].Patience for a frame is cut off, and its
// connection reset, so that nothing of what these pages become gets out. After a cut the
// client asks for the rest; the checksum is over the whole here, too.
//
// # Other ways to move bytes
//
// A [Mover] moves bytes between the memory of both sides past the connection, which
// only says where they are: who wants bytes pulls them. Set-up goes over the connection,
// as opaque bytes. With [Auto], a transfer that fails that way starts again by TCP, and
// the reason is counted ([Client.Moved]); with [Required] it fails with the reason. What
// is borrowed for it stays so until the mover says that nothing writes there any more.
// After a failure there is a pause; a mover that says itself that it is not ready is not
// tried, and used as soon as it is.
//
// # What a crash loses
//
//	dies         lost                                          kept
//	client       its blobs, within the lease                   what others use
//	connection   nothing: transfers go on over the next one
//	server       all blobs: clients get [ErrLost]              what local peers have mapped
package remote
