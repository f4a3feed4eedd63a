// Package tracker matches clients that want a device to servers that offer one,
// over the wire of Apache TVM's RPC tracker. [Server] is the tracker, [Client] a
// connection to one, as servers and clients use it.
//
// # Shape
//
//	peers ── TCP ──▶ conn (one goroutine each: reads, answers)
//	                   │ tvm.ParseMessage
//	                   ▼
//	       mutex ─▶ registry ──▶ queue per device key      pure: no I/O, no clock,
//	                   │           priority, then arrival   no goroutines
//	                   ▼
//	                handoffs ──▶ outbox of the client's conn ── one write ──▶
//
// Whoever makes a match possible (a PUT, a REQUEST, a poll of a server that was
// thought hung, a client that left) delivers the grant itself, by a write that
// never blocks; what a full socket does not take is left to a goroutine that
// lives until the peer has read it or the write timeout closes that peer. A
// reader never waits for anything but its own peer.
//
// A connection that begins with the magic of native clients (rpc/frame), or with TLS where
// these have it, is given to [Options.Native]; it counts among the open ones.
//
// # What a server goes through
//
//	starting ─ PUT ─▶ free ─ REQUEST ─▶ granted ─ says busy, or ───────▶ busy
//	                  ▲ │ ▲              │ │      has not polled for 5 s   │
//	                  │ │ │              │ └─ four polls in vain, PUT      │
//	                  │ │ │              │    of a new ticket: expired ─┐  │ PUT: used
//	                  │ │ │ client gone  │                              │  │
//	                  │ │ └─ before it ──┘                              ▼  ▼
//	                  │ │    had it: returned                           free
//	    heard again ──┘ └── ours, or polled before: silent for HungAfter ──▶ hung
//
//	free ─ Hold ─▶ held (shown as draining) ─ released ─▶ free, or granted at once
//
// Servers of ours say free, busy, draining, quarantined or starting themselves;
// any word but free withdraws what they offer. Of stock servers all this is
// inferred from what they send: they poll every 2 s while they wait, and are
// silent in a session. Those that never poll (iOS) or hardly (JVM) are never
// thought hung. A connection that closes takes its offers and requests with it.
//
// A grant is given back if the client's kernel had not acknowledged it when the
// connection ended: a client that leaves at the moment in which a device becomes
// free then costs that device nothing. A client that dies later costs the time
// until the server gives the ticket up, about 8 s. The door lets each ticket in
// once, so that no mistake here can put two clients on one device.
//
// # What an operator does
//
// A server of ours may say which instance it is ("name" and "instance"); by it,
// whoever embeds the package tells servers apart: [Server.ServersOf]. It can
// hold some ([Server.Hold]): their offers stay, and their servers go on seeing
// them as pending, but nobody is granted them, even those that come later, until
// the hold is lifted. A hold and a hang are independent: an offer is given out
// when its server is neither held nor hung. [Options.Changed] tells when to look
// again. A tracker in place of one that ended grants nothing until
// [Options.Settle] has passed.
//
// # Bounds
//
// A SUMMARY copies to whoever asks what everybody has said, so both are bounded.
// Of all that a connection says about itself, 64 KiB are kept: of fields that
// clients do not read (all but key, addr, state and session) the largest are
// dropped until the rest fits, and the UPDATE_INFO is answered as ever; if those
// four alone are longer, the connection is closed. What all peers together leave
// unread is at most 256 MiB: then those that leave most are closed. Long
// summaries are made one at a time.
//
// # What a crash loses
//
// Everything the package knows is in memory, and all of it can be told again:
// servers register and offer again by themselves, clients ask again, sessions
// do not pass through the tracker and go on. Lost are the places in the queues.
package tracker
