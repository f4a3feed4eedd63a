// Package accumulator gathers numbers over many nodes: sums, averages, extremes and
// timers that have a name, to which every node writes and which one server has.
//
//	acc := accumulator.NewClient(pusher, accumulator.Options{})
//	defer acc.Close(ctx)
//	instances := acc.Sum("instances")
//	instances.Add(1)
//
//	 node                                                          server
//	┌───────────────────────────────────────────────┐   Pusher   ┌──────────────────────────────┐
//	│ Add ─▶ shard ┐                                │  one call  │ last batch of ──▶ merge by   │
//	│ Add ─▶ shard ┼─ every 1024 writes, or 1 s ──▶ batch ─────▶│ each client       name, type,│
//	│ Add ─▶ shard ┘   (while the last is on its way,│  again if  │     │             labels     │
//	│                   shards go on receiving)     │  it fails  │     └─▶ had it: done before  │
//	└───────────────────────────────────────────────┘            └──────┬───────────────────────┘
//	                                                         Read, Reset, Erase, List, export
//
// An accumulator is named by its name and its labels; on whatever node these are
// written to, it is the same one. A name has one type.
//
// # What is promised, and who keeps it
//
//  1. What is written is merged once and not twice, as long as client and server live, and
//     whatever becomes of pushes: lost before, lost after, late, twice. A batch has its
//     client's identity and a number, and is sent again, unchanged, until it is known
//     what became of it. The server remembers the last number of each client.
//  2. What is not merged is told, by [Client.Flush] and Options.OnError: never silently.
//  3. A write waits for no push and for no other write. There is one flush at a time;
//     what is written meanwhile is gathered for the next, in the same memory.
//  4. Sums of integers, counts, extremes and timers are exact. Sums of
//     floating-point numbers are within rounding, whatever the order of merging.
//  5. What a peer pushes is bounded: names, labels, states, batches; how many
//     accumulators there are, and how many clients are remembered. What is too
//     much, or of another type, is refused by itself; the rest of a batch is merged.
//
// # A batch at its client
//
//	gathered ── flush ──▶ taken ──▶ pushed ── nil ──────────▶ merged, once
//	                                 ▲  │
//	                                 │  ├──── ErrRejected ──▶ merged as far as it goes; told
//	                   after a pause │  ├──── client ends ──▶ nobody knows; told
//	                                 └──┴──── other errors
//
// # A batch at its server
//
//	               client known                  number not above its last
//	any batch ──▶ ────────────── yes ──▶ ───────────────────────── yes ──▶ said again
//	                  │ no                           │ no
//	                  ▼                              ▼
//	       older than half a lease? ── no ──▶ merge, remember ──▶ nil, or ErrRejected with reasons
//	                  │ yes
//	                  ▼
//	             ErrExpired: it may have been merged before the client was forgotten
//
// A client is forgotten when it has pushed nothing for a lease. A batch says for how
// long its client has been trying: one that is younger than half a lease would be
// remembered if it had been merged. The client measures that by its own clock, and
// from the first push that is not known not to have run. If that clock stands still for a
// lease, as that of a machine which is suspended may, a batch of which the client had no
// answer before may be merged twice.
//
// # The bytes of a batch
//
//	0    version = 1                 ┐
//	1    identity of the client, 16  │ integers of fixed length: little-endian
//	17   number of the batch, 8      │
//	25   age in ms, 4                │
//	29   how many entries, 4         ┘
//	33   entries: name  type  number of labels  (name  value)...  state
//
// Names, types, values and states have their length before them. Lengths and
// numbers of labels are uvarints, in their shortest form; labels are in the order of their
// names. So every batch has one form only.
//
// # What a crash loses
//
// Of a client: what it has not flushed, that is the writes of the last second, and those of
// the flush that is going on may or may not have been merged. What it flushed stays.
// Of a server: all, unless its owner keeps what [Server.Snapshot] returns and gives it to
// [Server.Restore]; clients go on, and [Server.Start] and the Start of each value say from
// when on it counts. What was merged after the snapshot is lost, not doubled.
package accumulator
