// Package grpcdoor lets clients of any language call a core's methods at most once: a
// small gRPC service (package rpcpoolv1) beside the native door, on the same table,
// queue and executor.
//
//	RPC Invoke ─┐                     ┌─ Connect, Hello(Resume, Ack, fence)
//	RPC Invoke ─┼─▶ line of the call ─┤  Call, or Cancel            ──▶ Core
//	RPC Cancel ─┘    (session, seq)   └─ Ping, while anybody waits
//	     ▲                 │
//	     └──── answer ─────┴◀─ Tell(Reply, Gone), Close
//
// An RPC has no connection that it belongs to: a retry may come by another one, through
// a proxy, or after a restart. So the core's line is not a connection here but a call:
// all RPCs about one call share a line for as long as any of them is there, and all have
// the answer when it comes. Each says Hello for itself, which brings its Ack and fence.
//
//	 first RPC       Welcome            Reply, Gone, Close
//	──────────▶ new ─────────▶ open ───────────────────────▶ ended
//	             │ Gone, Full,   ▲ │ another RPC                ▲
//	             │ Close         └─┘                            │
//	             └──────────────────────────────────────────────┘
//
// The last RPC to leave disconnects the line. That ends nothing: how the call ends is
// kept in the table, for whoever asks again. What ends a call is Cancel, its deadline
// (that of the first RPC, on the core's clock), and the end of its session.
//
// A call without a session has one of its own, of which nobody else knows. It ends with
// its RPC.
//
// # What a crash loses
//
// Nothing of its own: lines are made again by those who ask again.
package grpcdoor
