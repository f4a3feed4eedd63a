// Package controllers is the operator: it reconciles RPCPools, and runs the
// trackers that their servers register with.
//
//	API server                    operator (leader)                        pods
//	──────────                    ─────────────────                        ────
//	RPCPool, Pod, Node ─watch─▶ Pools:    get ─▶ plan ─▶ apply ─▶ status
//	                              ▲ observes   │ holds servers, then writes
//	                              │            ▼
//	Service, EndpointSlice ◀─── Trackers ─▶ trackers.Set ◀──TCP── sidecars, clients
//	                              ▲                │
//	                              └── pacer ◀──────┘ news, at most once a second a key
//
// [Pools] makes, drains and deletes pods, as package plan decides; [Trackers]
// keeps a listener, a Service and an EndpointSlice for each tracker that a pool
// names. Both are thin: what is decided is in plan, what is made is in build.
//
// # Writes
//
// A session costs no write. What a reconcile writes follows from the difference
// between what is and what should be; an object whose content is as it was last
// applied is not applied again. A pool's status is patched when it has changed,
// at most once a second.
//
// # What a crash loses
//
// Nothing that matters is in memory: a drain that has begun is an annotation of
// its pod, a tracker's servers and clients come back by themselves. Lost are the
// backoffs of failed pods and the queue positions of clients.
package controllers
