// Package worker is the side of a worker process: [Serve] runs what the process above
// it calls, on a channel that it was born with.
//
//	server ── CALL, CANCEL ──▶ descriptor 3 ──▶ server.Bare ──▶ Local: methods
//	       ◀── REPLY, ERROR ──              ◀──
//
// The channel speaks the native protocol (docs/protocol.md) without sessions: the
// parent is the only client, it keeps the table of what was called, and never sends
// more at a time than this process is to run. What a program must know:
//
//   - RPCPOOL_SESSION=calls in the environment says that descriptor 3 is the channel, a
//     connected Unix stream socket.
//
//   - The handshake says that the worker is ready.
//
//   - A call's deadline is in its header, relative. Who lets it pass, or goes on after
//     a CANCEL, is killed after a grace.
//
//   - Messages go by memory that both processes have, if both say the feature ring, and by the
//     channel else (package ring).
//
//   - Items of streams come and go as for any server, at the priority of all else.
//
//   - With the first byte of the channel comes a descriptor (SCM_RIGHTS), if the parent has a
//     host of blobs: the socket to it. Who takes it with that byte, and joins there, may say the
//     feature blobs in the handshake, and finds what calls name in memory. For all others, the
//     bytes are in messages.
//
//   - The end of the channel is the end of the worker.
//
//     born ── Serve ──▶ ready ◀── all answered ── CALL ──▶ busy
//     └── the channel ends, or ctx ──▶ Serve returns ◀──┘
//
// # What a crash loses
//
// The calls that run: the parent knows which, and says so to their callers.
package worker
