//go:build linux

// Command chaos kills every process of a pool at random while clients run
// random programs on it, and then decides from what everybody saw whether the
// pool kept its promises.
//
//	go run ./test/chaos [flags]      or: make chaos CHAOS=2000
//
//	clients ──▶ programs, made from the seed: good calls, then perhaps a bad end
//	   │            of the worker (crash, hang, left-behind processes) or of the client
//	   │            (FIN, RST, half-close, garbage, silence, a stale ticket)
//	   ▼
//	fleet: a tracker; pairs of sidecar and agent, as in a pod; `rpcpool serve`
//	   ▲            a keeper starts again whatever dies, as a kubelet does
//	   │
//	killer ─ SIGKILL, SIGSTOP, SIGTERM, from a seed and a clock of its own
//
//	history: what each client saw, each kill, each record "session ended" of the
//	sidecars ──▶ checker (pure) ──▶ violations; census: processes, descriptors,
//	work directories, sockets, groups and memory that are left
//
// Every session's client has an address of its own, 127.a.b.c, which is the
// session's number: so a record of a sidecar belongs to one session, whichever
// sidecar wrote it.
//
// The same seed makes the same programs and the same choices of whom to kill;
// when a kill comes, and so what it hits, is up to the machine. The checker
// knows for each session which kills may have touched it, and asks for the exact
// cause where none did.
//
// Everything that it starts is its child, dies with it, and is stopped by its
// process id. It owns a temporary directory, which it removes.
package main
