// Package frame is the wire of native calls: frames on a byte stream, and the
// handshake in front of them. It is a pure codec. It owns no state, does no I/O
// and allocates nothing on the way of a call, so a crash loses nothing here.
//
// # A connection
//
//	client ── Magic, HELLO ────────────▶ server     version range, features, limits
//	client ◀── Magic, HELLO_ACK ──────── server     what both can, or why not
//	client ── BIND, CALL, CHUNK… ──────▶ server     may follow HELLO at once
//	client ◀── REPLY, CHUNK…, ERROR ──── server
//	       ◀── CREDIT, PING, GOAWAY ──▶
//
// [Magic] differs in its first byte from everything else that may come to the
// same port; [Sniff] tells them apart.
//
// # A frame
//
// All integers are little-endian. A header of [HeaderLen] bytes is followed by
// the extensions, whose length is a multiple of 8, and then by the body:
//
//	0        4    5     6     7       8      16     24         28      32
//	┌────────┬────┬─────┬─────┬───────┬──────┬──────┬──────────┬───────┐
//	│ length │type│flags│class│ext / 8│ seq  │ ack  │ deadline │ crc32c│ ext │ body
//	└────────┴────┴─────┴─────┴───────┴──────┴──────┴──────────┴───────┘
//
// length counts what follows the header. class holds the priority (2 bits) and
// the codec of the body (6 bits). The checksum is there only if [FlagCRC] is
// set; it covers everything but itself.
//
// docs/protocol.md says all of it, for those who write a peer in another language.
//
// What a type may carry (flags, priority, body length) is one table, and
// [ParseHeader] holds each header against it: nothing that is too long, unknown
// or contradictory gets past the first 32 bytes. A type that a peer does not know
// is skipped if it has [FlagOptional], and ends the connection otherwise.
//
// # A message
//
// A message longer than a frame is cut. Its first frame has [FlagMore] and says
// the whole length ([Ext.MessageLen]); CHUNK frames of the same seq follow, all
// but the last with [FlagMore]. Frames of other messages may come in between.
//
// # Credit
//
// Frames of messages are metered, all others are control and never wait. A
// receiver says absolute limits, which only grow. The limit of a connection
// ([Credit] with seq 0) covers the frames, with their headers, that begin within
// the first [MessageAllowance] bytes of their message; what a message has beyond
// them needs a limit of its own, which the receiver says when it has the memory.
// So a message that waits for memory stops no other.
//
// # Errors
//
// Every decoder fails with an [*Error], which has the [Reason] to close the
// connection with. After one the stream cannot be trusted any more.
package frame
