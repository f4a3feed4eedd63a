// Package socket waits for stream sockets outside of the runtime's poller.
//
// The runtime has each socket in its epoll instance for as long as that is open, and a thread that has
// nothing else to do sleeps there. So each message that comes wakes that thread, also if its reader is
// awake and about to take it; and so does, with a Unix socket, each message that the peer takes, as
// there is room for another one then. Between processors of a virtual machine that costs who writes, and
// who reads, some 10 µs each: more than all else that a short message takes.
//
// A [Conn] has an epoll instance of its own, a descriptor more, armed only while a goroutine sleeps, and
// once. That instance is in the runtime's poller:
//
//	             nothing is there             something has happened: disarmed
//	Read, Write ──────────────────▶ asleep ─────────────────────────────────────▶ tries again
//	                                armed     or its deadline, or Close: fails
//
// Its system calls, which never wait, are made without telling the runtime, as the runtime's own poller
// makes its own ([TryRead]).
//
// # What it owns
//
// The socket and the instances, until they are closed and nobody uses them any more.
//
// # What a crash loses
//
// Nothing: nothing is kept here but who sleeps.
package socket
