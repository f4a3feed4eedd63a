// Package port lets several protocols share one listener: it looks at the first bytes
// of a connection, and hands it to who speaks what they are the beginning of.
//
//	          ┌─ native magic ──────▶ Listen(Native)
//	accept ─▶ look ── HTTP/2 ───────▶ Listen(HTTP2)
//	          │  ▲ └─ TVM's magic ──▶ Listen(TVM)
//	          │  └── TLS, once: handshake, look again
//	          └─ anything else, nobody listens, too slow ──▶ closed, without an answer
//
// Native clients without TLS where it must be, and clients with TLS where there is none, go
// to Listen(Native) as they are: it has the words to say so (package conn).
//
// Looking takes nothing away: a socket is handed on as it is where the kernel lets one
// peek, and elsewhere as a connection that begins with the bytes that were read.
//
// Whoever says nothing is closed when the patience is over, the handshake of TLS
// included. There are only so many connections of which is not known yet what they
// speak: if another comes, the one that has been there longest goes.
//
// # What a crash loses
//
// Nothing: it keeps nothing.
package port
