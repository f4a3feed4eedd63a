// Package compress makes the bodies of messages shorter where that makes them
// faster.
//
//	id  compressor    for
//	0   s2            fast networks: takes the least time
//	1   zstd fastest  slow networks: becomes shorter
//
// The ids are on the wire: bit n of HELLO's compressors is compressor n, and the
// peers use one that both have. A message that is compressed has a flag, and
// says its plain length, which the receiver checks before it makes room.
//
// [Compressors] owns the encoders and decoders; a client or a server has one. An
// [Adaptive] is what is known of one method on one connection. Neither keeps
// anything that a crash could lose.
//
// # When to compress
//
//	         body < 1 KiB ──────────────────────────▶ plain
//	         nothing known, or 1 in 64 ─────────────▶ compress, measure
//	Encode ──┤
//	         time to compress a byte <
//	         time that the link needs for what is
//	         saved of it ───────────────────────────▶ compress, measure
//	         otherwise ─────────────────────────────▶ plain
//
// What does not become shorter is sent plain, even if the work is done.
//
// There is no state that says on or off: each message is decided by averages of
// how much shorter bodies became, what that cost, and how fast the link is. Who
// has the connection says the last. The caller leaves compression out where
// there is no link (the same process, shared memory, a Unix socket, loopback),
// and for methods whose messages mix secrets with what a stranger may choose.
package compress
