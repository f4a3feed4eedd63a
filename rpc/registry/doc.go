// Package registry keeps the native servers of a pool: who there is, which services
// each has and how it is reached, and what every client is told about it.
//
//	        Register, Renew ┌────────────┐ Since: a snapshot, then deltas
//	Registrar ─────────────▶│  Registry  │───────────────────────────────▶ View
//	 of a node  Ack, Refusal│            │                       of a client
//	           ◀────────────┤ Lock, Arrive, State │
//	                        └────────────┘
//
// [Registry] is what the tracker has, [Registrar] what keeps a node in it, [View]
// what a client looks servers up in. All are pure: no I/O, no goroutines, no clock;
// a time is a time.Duration on the monotonic clock of whoever passes it. A shell
// carries [Message] values, which [Encode] writes as CBOR, over connections of
// native calls. A call never needs the registry: only news of servers does.
//
// # A node at the registry
//
//	             Register               Self (15 s) without a renewal
//	(unknown) ─────────────▶ alive ─────────────────────────▶ suspect
//	    ▲     rank, epoch    ▲  │ ▲            Renew            │  │
//	    │                    │  │ └─────────────────────────────┘  │ Fence (20 s)
//	    │     Renew, Register┘  │ Deregister                       ▼
//	    │                       └──────────────────────────────▶ fenced
//	    └── a registry that starts ◀── all of them                for ever
//
// An epoch is one instance of a node. It only grows, over restarts of the registry
// too ([Options.Term]), and no two instances have the same: so it is the fencing
// token. All that was given and is nobody's now is fenced; of what is fenced,
// nothing has to be kept. Another instance of the same node (its id, but another
// [Secret]) is refused until the first is fenced. Ranks are dense: a newcomer gets
// the lowest that is free, and nobody gets a rank before who had it is fenced, or, if it is
// lasting, has been silent for as long. A node keeps rank and epoch as long as it lives.
//
// # A node at itself
//
//	            Confirmed                    Failed, no answer
//	registering ─────────▶ registered ──────────────────────▶ losing
//	  ▲  │ ▲ Failed: later   ▲  │ ▲ Renewed, Confirmed           │ │
//	  │  └─┘                 └──┘ └──────────────────────────────┘ │
//	  │                  every 5 s                                 │
//	  │  Revive: the workers have ended        15 s, or refused    ▼
//	  └──────────────────────────────────────────[Fenced]─────── fenced
//	                                                      Leave: any ─▶ left
//
// A node counts its 15 s from when it sent the last renewal that was answered, the
// registry its 20 s from when that came: so the workers have ended at the node for
// 5 s before others are told so, unless a clock is slow by a quarter, or a machine is
// stopped between a look at the clock and what follows. What a handler does outside
// must carry the epoch if that matters. A registry that does not answer for 15 s
// thus costs a node its workers; who prefers that they go on, and gives up that
// [StateFenced] is true, says so when it registers ([Registration.Lasting]): such a node
// only gives its locks back, and claims its rank and epoch from the next registry all the
// same ([Registration.Lapsed]): it has them when that has settled, for the registry before may
// have given the rank to another, which comes back first. Views have it at once. Epochs of both
// kinds are told apart by their last bit, so that nothing has to be remembered of those that
// are over.
//
// An instance may outlive its process, as one with a journal does: the next process has the
// secret, and a greater [RegistrarOptions.Life]. What an earlier one says does not count any
// more, and its locks are free.
//
// # A registry in place of another
//
// It starts empty, and settles for 20 s. Nodes find that their epoch is [Unknown],
// and register again with a [Claim]: they keep rank, epoch, automatic ids and locks.
// Meanwhile newcomers wait, no lock is granted, and of other epochs nothing is known.
// Views keep what they have and add what is told, until an update says that the
// registry has settled. After that, who has not come back is fenced: it has ended its
// workers by itself. No two registries may answer at the same time.
//
// # What watchers get
//
// Each change has a version. [Registry.Since] says what leads from a version to now,
// which is what the changed nodes are now, and not how they became so: so who is slow
// skips what has been overtaken, and the registry has no queue for anybody. Its list
// of what each version changed is bounded; who is further behind gets a snapshot.
// Those at the same version get the same bytes, encoded once. A change costs one
// delta for each watcher; a newcomer also gets one snapshot. A shell that
// waits 50 ms after a change before it sends makes one delta of all of them.
//
// A view refuses a delta that does not begin at its version or before
// ([ErrGap]), and asks for what is since; so a lost one is repaired by the next. A
// shell whose stream may lose the last one says the version now and then.
// [Digest] is of all nodes: every update says what it is to be then.
//
// # Locks and barriers
//
//	Lock ──▶ waiting ──── the lock is free, and it is first ───▶ granted ─▶ over
//	            │                                                 Release, or
//	            └─ Release: over                                  fenced
//
//	Arrive ─▶ waiting ─┬─ N have arrived ─────────────────────▶ passed
//	                   ├─ one who waits is fenced, or leaves ─▶ broken
//	                   └─ Release ────────────────────────────▶ over
//
// Both belong to an epoch, and go with it. A request has a number: the same one asks
// again, and gets what has become of the first. Who is granted what it does not want
// any more, as from a copy of a request that came late, releases it. The token of a grant is greater than
// that of any before; whatever the lock protects can refuse lower ones. A barrier
// that has let some go when the registry is lost waits for them in vain: wait with a
// deadline.
//
// # What a crash loses
//
// Of a registry: nothing that nodes cannot say again, but loads until the next
// renewal, who waited for a lock (its request is made again, at the end of the
// queue), and who waited at a barrier. Of a node: its rank, epoch and locks, after
// 20 s. Of a client: its view.
package registry
