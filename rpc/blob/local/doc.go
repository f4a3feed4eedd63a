// Package local lets calls have blobs in the memory of one machine: it puts a host of
// blobs (package shm) behind a server, and joins that of a server for a client.
//
//	client ══ Join ══▶ Unix socket ══▶ Host ◀── Begin, End, Offer ── server.Core
//	  │                                 ▲
//	  │ BLOB_OFFER: socket, ticket      └── Pair: its workers, each by a socket that it is
//	  ▼                                      born with ([Attach])
//	server.Door
//
// The socket is an abstract one, of a random name, if no path is said: it is in no file
// system, and whoever has the server's network namespace reaches it, such as another
// container of the pod. Who shows no ticket that the server has given to a client is
// refused; a ticket is good once, and as long as that client's connection.
//
// An argument that the server says may be used again is kept for the next one: few of them, none that is longer than
// 512 KiB, and for 10 ms at most. Before it is used, the client looks whether the host is still there.
//
// Clients of other machines come to the port of the calls ([Host.Bulk], package remote).
//
// Where Linux is not, [New] says so ([errors.ErrUnsupported]), and Join leads nowhere.
//
// # What a crash loses
//
// What package shm says: of a client what it had, of the server all blobs. A name in the
// file system is replaced by the next host.
package local
