// Package shm has the memory of the blobs of one machine, and shares it between
// processes. A [Host] has the table of package blob and the segments; a [Peer] is a
// process that has blobs or uses them. Linux only.
//
//	owner's Peer ══ map, to be written ══╗      ╔═ map, to be read; or guarded ═ callee's Peer
//	   │                                 ▼      ▼                                  ▲
//	   │ requests             segments: memfd, sealed                              │ by its first
//	   └──────────────────▶ Host ── descriptor, once for each segment and peer ────┘ argument in
//	                         ▲  ▲                                                    a segment
//	        Begin, End ──────┘  └── pidfd, end of a connection: a peer is dead
//	      (server of calls)
//
// # Hand-over
//
// What goes from process to process is where bytes are: so it takes the same time for
// 4 KiB and for 1 GiB. A segment's descriptor goes to a peer once, by SCM_RIGHTS, and
// is closed when the segment is mapped. After that, a call's argument needs no request
// at all: [Host.Begin] says where it is, and [Peer.Argument] looks there. What is
// opened for longer than a call ([Peer.Open]) takes one request, and one to close it.
//
// A process that has no descriptors left, or no room for a map, keeps all that it has. What it only reads is
// copied to it over its socket; for the rest it gets [ErrUnmapped], and what the host has made or held for it is
// given back. The host counts that, and logs the first of each peer. It is the same where the host has no descriptor
// left to pass, or the system has too many on their way (ETOOMANYREFS): no peer loses its connection by that. A
// host that gets no memory at all, as where memfd_create is refused (seccomp), counts and logs that, too, and has no blobs.
//
// # Who can do what to whom
//
// A segment has blobs of one owner. Who may only read gets a descriptor that can be
// mapped for nothing else. Who may write gets one for the whole segment, but has it
// mapped without access; only what it holds is opened, page by page, for as long as it
// holds it. So a stray pointer ends in SIGSEGV, in the process that has it. A hostile
// process can get around that guard, but not around the descriptor: it can read that
// owner's blobs in the segments that it has been given, and write them in those that the
// owner has set aside to be written by others. It reaches no other owner's. A process that
// runs as the same user as the host, or as root, is not kept out by any of this: it
// could as well trace the others.
//
// Segments are sealed: nobody can make one shorter, so nobody gets a SIGBUS. Peers look
// for the seal before they map anything. The host holds its table in memory of its own;
// nothing that a peer can write is believed. A message is copied before it is looked
// at. Peers that break the protocol, or do not read, lose their connection; the host
// waits for none of them.
//
// # A segment
//
//	          Need                first place in it            Retired
//	(none) ──────────▶ at the host ────────────────▶ at peers ─────────▶ discarded
//	      memfd, seal,     │         SCM_RIGHTS, map    │                  pages freed at once,
//	      map              └───────── Retired ──────────┴───────────────▶  peers unmap with their
//	                                                                       next answer
//
// With [Options].HugePages segments are of 2 MiB pages, if the system has set some
// aside; otherwise they are of normal ones, and the log says so. That is for what only the host's process
// writes: blobs of parties of other machines, and of this process, that are lent to be read. Who can write to
// a segment can punch holes in it, and so give back what the system has set aside for it; if somebody else
// takes that, the next access of the host ends in SIGBUS. So segments that another process owns, or may
// write, and those of results, are of normal pages, whose holes are filled with zeros. A segment of huge pages that is
// retired is free when the last peer has unmapped it: a hole would do to the peers what they must not do to the host.
//
// # The death of a peer
//
// A peer that dies leaves by itself: its end of the connection closes. Where its process
// can be seen, a pidfd tells, too, although a child of it may have inherited the
// connection; maps are not inherited. What it had is free then, at once. What a call
// has lent it stays until the server ends the call; if that does not within half a second,
// the call counts as crashed. Peers of another machine, or container without a shared
// socket, are not of this package.
//
// # What a crash loses
//
//	dies            lost                                     kept
//	peer            its blobs; who uses them goes on         what others have
//	callee          its results; arguments as package blob   the caller's blobs
//	                says for their mode
//	host            all blobs: peers get [ErrHost]           what peers have mapped, until
//	                                                         they close
//
// Nothing has a name in any file system, /dev/shm or elsewhere, but the host's socket.
// Segments are gone with the last process that has them; there is nothing to clean up.
// Their pages are charged to the memory control group that touches them first.
package shm
