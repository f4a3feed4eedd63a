// Package client is the calling side: the state machines of package session over the
// connections of package conn, to all servers of one service.
//
//	Do ─▶ Invocation ─▶ session.Client ─ Transmit ─▶ conn.Conn ═══ server
//	                        │    ▲ Reply, Welcome      │
//	                        │    └─────── reader ◀─────┘
//	                        ├─ Dial ──▶ conn.Service: connects, in a goroutine
//	                        └─ Route ─▶ another server, or none
//
// One lock guards the state machine; nothing is sent, dialled or waited for under it.
// Who calls also writes its own frame, and, while its call is the only one that is
// outstanding on a connection, reads its own answer. Everybody else is woken.
//
// # Which server
//
// The nearest: in this process, on this node, elsewhere. Among those that are equally
// near, the one of two at random that has fewer calls of ours open. One that has failed a
// moment ago is left alone while there are others; and so is one that has refused a call, for 100 ms, and twice
// as long each time, up to 10 s, until it has taken one. A call tries each server at most
// once, and three at most; it ends with NoServer at once when there is none left.
//
// # When a call ends
//
// With the server's answer; or when its context ends: then the server is asked what has
// become of it, and if it does not say within the grace, the outcome is Indeterminate.
//
// # Blobs
//
// [Client.Blobs] is what this client has in a server's memory: it asks for it once, by BLOB_OFFER, and
// joins by one of [Options].JoinBlobs. What is there belongs to the client as long as the server is in the
// list, over all connections. Results of calls that were given up are freed when they come.
//
// # Servers that go
//
// Update replaces the list. A server that is not in it any more gets no new calls;
// what was not sent to it goes to others, the rest is waited for as long as its
// connection lasts. [Client.Fenced] says that a server is dead.
//
// # What a crash loses
//
// The sessions: servers forget them with their lease.
package client
