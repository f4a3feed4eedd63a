// Package naming puts package registry on the network: a registry that nodes register
// at, nodes that stay registered, and clients whose lists of servers follow it. All of
// it are calls and a stream of package rpc, so they are made at most once, over
// connections that are kept alive.
//
//	           naming.Register, Renew, Deregister ┌────────┐ naming.Watch
//	[Node] ──────────────────────────────────────▶│[Server]│─────────────▶ [Follower]
//	  its servers         Lock, Arrive, Release   └────────┘ (a stream)      │ a View
//	                                      State ──────▲                      ▼
//	                                                           rpc.Client.Update, Fenced
//
// What the registry decides, and the state machines of a node, are in package
// registry; here are the lock, the clock, the timers and the goroutines.
//
// # Who waits for what
//
// A [Server] has one timer, for the next lease or the end of settling. A watcher is one
// goroutine and no queue: it sends what is new since it sent last, [Options.Coalesce]
// after the first change of it. A lock or a barrier that is not had at once is waited
// for in the handler of the call, up to [Options.Poll]; then the node asks again, with
// the same number. All who wait are bounded by [Options.Most]. A refusal is the
// call's error: its rpc.Reason is the word of the registry.Code, its detail the
// registry.Refusal.
//
// A [Node] has a goroutine that does what its registry.Registrar says, and one for each
// call that is under way. A [Follower] has one.
//
//	Node     Start ─▶ registering ─▶ registered ⇄ losing ─▶ fenced: OnFence ─▶ registering
//	Follower [watch ─▶ snapshot ─▶ delta, delta, …] ─ broken, or a gap ─▶ pause ─▶ [watch
//
// # What a crash loses
//
// Of the registry: nothing that nodes do not say again within a renewal (5 s);
// calls go on meanwhile, by the views that clients have. Of a node: what package
// registry says. Of a client: its view, which the next one gets as a whole.
package naming
