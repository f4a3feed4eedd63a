// Package ring carries the bytes of a connection between two processes of a machine through memory that
// both have mapped: who looks for the next bytes finds them without a system call.
//
//	          Write                                     Read
//	process A ─────▶ ring: 128 KiB of the memory ─────────▶ process B
//	          ◀───── another one ◀─────────────────────────
//	          ◀────────────── socket: the bell ───────────▶
//
// Bytes never go by the socket. A byte there is a bell, which means: look again. It is rung for who is
// asleep, because its ring is empty, or waits for room in one that was full. So a socket that has ended tells
// as ever that the peer is gone, and sleeping costs what it costs with a socket. Who waits for room also looks by itself, more and more
// seldom: who would hear of it reads here, and for a moment that may be nobody.
//
//	            ring is empty                     is empty still
//	reads ───────────────────▶ says it is asleep ───────────────▶ sleeps until the bell rings
//	  ▲                                │ something is there, meanwhile          │
//	  └────────────────────────────────┴────────────────────────────────────────┘
//
// # What it owns
//
// The memory, until both ends are closed, and its socket.
//
// # What may be wrong with a peer
//
// A peer may write anything anywhere in the memory, at any time. Each side goes by its own position, copies
// bytes out before anybody looks at them, and ends the connection when the peer's position cannot be, or something
// else than bells, which are zeros, comes by the socket. The memory cannot be made smaller by who has it.
//
// # What a crash loses
//
// Of a process: what it has not read, and what it has not finished writing. What it has written can be
// read to the end.
package ring
