// Package tvm holds the wire of Apache TVM's RPC system as pure codecs: bytes
// in, values out, and back. It does no I/O, starts no goroutine, reads no clock
// and keeps no state, so a crash loses nothing.
//
// There are three layers, each spoken on its own connection:
//
//	client ── frames of JSON ─────────────▶ tracker ◀── frames of JSON ── server
//	   frame.go message.go parse.go reply.go summary.go info.go
//
//	client ── magic, length, key ─────────▶ server      handshake.go matchkey.go
//	       ◀─ code, length, server key ──
//	       ── packets ────────────────────▶ server      packet.go seq.go value.go
//	       ◀─ packets ───────────────────        exception.go flavour.go dtype.go
//
// All integers are little-endian.
//
// # Frames
//
// A [Message] is what a peer sends to the tracker. [ParseMessage] is strict: a
// message that is not exactly of its shape is an error, on which a tracker
// closes the connection, because the protocol has no error reply. What we write
// is byte for byte what the reference writes for the same message: separators
// ", " and ": ", ASCII only. Peers compare text (the reply "0"; match keys as
// substrings), and the reference counts characters, not bytes.
//
// # Packets and flavours
//
// The session layer changed its type codes and the order of a packed sequence
// twice without a new version string; see [Flavour]. A decoder is told the
// flavour; [FlavourOfInitReply] and [FlavourOfFirstCall] find it out.
//
// # Hostile input
//
// Every decoder takes bytes from the network. No decoder panics, none allocates
// from a length or a count before it has checked it against the bytes that are
// really there, and none recurses deeper than a constant. Each has a fuzz
// target. Errors wrap one of the Err values of this package and name what was
// wrong.
package tvm
