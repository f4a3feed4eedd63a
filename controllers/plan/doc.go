// Package plan decides what a pool's pods should do next: which to make, to
// drain, to delete, which servers not to offer, and what to say about it all.
//
// It is pure: no I/O, no clock, no goroutine. [Next] takes one observation and
// returns one plan; the caller carries it out and observes again. Nothing is
// remembered between two calls: whatever must survive, the operator's death
// included, is in the observation (a pod's drain began at the time that its
// annotation says).
//
//	             ┌────────── the pool's pods, by name POOL-ORDINAL ──────────┐
//	(no pod) ─create─▶ Pending ─▶ starting ─▶ free ⇄ busy                    │
//	    ▲                 │           │         │      │ a victim: drain      │
//	    │                 │ not started         ▼      ▼                      │
//	    │                 └───────────┴────▶ draining ── session over, or ────┘
//	    │                                    drainTimeout passed: delete
//	    └──────────── gone ◀── terminating ◀────────────┘
//
// # Rules
//
// A device is exclusive, so a name is used again only when its old pod is gone:
// what is active and what is terminating together never exceed the replicas that
// were asked for (where they already do, nothing is made).
//
// Victims, of a scale-down and of a rollout, in this order: those that drain
// already, quarantined ones, those that are not ready, free ones, busy ones; among
// equals those of an old revision, then the newest pods. A busy server (one that
// was granted to a client included) is drained: it is not offered again, and its
// pod is deleted when its session is over, or drainTimeout after the drain began.
// So is an idle one: it may have been granted since it was observed, and only the
// next observation, after the hold, tells.
//
// A server of which the tracker has not heard, although its kubelet says that it
// is ready, counts as busy where pods are chosen: the tracker may be new.
//
// A rollout keeps at most maxUnavailable servers from being offered. Old pods
// that serve nobody anyway (quarantined, not ready) are replaced without regard
// to it.
//
// Pods are made in growing batches: the more have started, the more may be on
// their way. A pod that no node has room for, or that does not start, holds all
// further ones back.
//
// As long as the tracker has not settled (the operator has just started), who is
// busy is not known: nothing is drained and nothing is deleted but what has
// failed, and the counts of servers stay what they were.
package plan
