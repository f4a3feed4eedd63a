// Package journal keeps records over the death of the process that wrote them: a
// ring in a file that is mapped into memory. To append a record is to copy it to
// the mapping; the kernel has it from then on, whatever becomes of the process.
//
//	owner ── Append(record) ─▶ Journal ── copy ─▶ mapping ═══ page cache ──▶ disk
//	  ▲         full: Compact     │                                  ▲
//	  └──── Records, in order ────┘      policy: when the disk has it┘
//
// A record is any bytes. What the journal holds is a list of them; the owner can
// make it longer by one (Append), replace it as a whole (Compact), and read it
// from its begin (Records). After a crash at any moment the list is what it was
// before or after the operation that was cut short, never anything between.
//
// # The file
//
//	0     magic "RPCPJRNL"  version  checksum  size of the ring  seed  identity
//	512   slot 0 ┐ of the two, the whole one with the greater number is true:
//	1024  slot 1 ┘ life, where and in which life the list starts, boot, policy
//	1536  marks: up to where it is written; up to where the disk has it
//	4096  ring
//	      ┌───────────┬────────────────┬────────────────────────┬─────────────────┐
//	      │ free      │ body           │ appended since         │ free            │
//	      └───────────┴────────────────┴────────────────────────┴─────────────────┘
//	                  ▲ start                                   ▲ head
//
//	record, 16 bytes and its payload, begins at a multiple of 16:
//	      ┌──────────┬─────────────────────┬────────┬───────────────┬─────────╌╌┐
//	      │ CRC-32C  │ body bit, length 31 │ life   │ position / 16 │ payload   │
//	      └──────────┴─────────────────────┴────────┴───────────────┴─────────╌╌┘
//
// Numbers are little-endian. Positions count bytes since the file was made and go
// on over the end of the ring; a payload that reaches the end goes on at its
// begin. The checksum starts from the file's seed and covers all that follows it,
// so neither what an earlier round has left there nor what a peer has put into a
// payload is taken for a record.
//
// A life is from one Open to the next. A record of an earlier life than the one
// before it, or than the start of the list, is what was behind a record that a crash
// cut short: the list ends there. The body is what the last Compact has written; the
// slot says where it starts and ends, and only in it are records with a body bit
// valid. So what a Compact that was cut short has written is not of the list.
//
// # What is full
//
// The list may be half as long as the ring: then any list fits into the other half,
// and Compact never fails for want of room. Beyond that Append writes nothing and
// returns [ErrFull], and the owner does one of these:
//
//   - it calls Compact with what still matters, and Append again;
//   - if that is still too much, it makes nothing new (refuses calls), drops what it
//     can do without (replies), and tries again when it has less to keep.
//
// Live records are not overwritten. Room tells how near this is, so that an owner can
// compact when it has nothing better to do, and begin nothing when there is not room
// for how it ends. Compact stops the journal for as long as it takes to copy what is
// kept; that pays if it is a small part of the ring.
//
// # What is done about what may happen
//
//	what                                      seen by                     done
//	────────────────────────────────────────  ──────────────────────────  ─────────────────────────
//	process is killed within Append           checksum, written mark      record was not written
//	process is killed within Compact          slot, body bits             list as before
//	process is killed within Open, creating   file has its name last      made again
//	record damaged that was written           checksum, written mark      Open: [ErrCorrupt]
//	header damaged, file cut or lengthened    checksums, size             Open: [ErrCorrupt]
//	not a journal, or of another version      magic, version              Open: [ErrForeign], [ErrVersion]
//	others may write to it, or read secrets   file mode, links            Open: error
//	another process has it                    flock                       Open: [ErrLocked]
//	no space                                  blocks allocated first      Open: error
//	file cut while it is open, disk failed    SIGBUS, or error of a sync  [ErrBroken] from then on
//	machine restarted                         boot in the slot, policy    [ErrLost], or list is whole
//
// A file that Open refuses is left as it is. [SetAside] gives it another name; the
// next Open then makes a new one, with a new [Journal.ID]: who knew the old one
// learns by it that what the journal held is gone.
//
// # What a crash loses
//
//	policy   process dies                 machine dies
//	Process  nothing that Append has      Open says ErrLost, unless the
//	         returned for                 journal had been closed
//	Batch    the same                     nothing that Wait has returned for
//	Each     the same                     nothing that Wait has returned for
//
// Batch and Each differ in when the disk is asked: Batch waits some milliseconds for
// others to share the sync. What one sync takes along, it makes durable for all.
// Where the kernel does not name its boots (/proc/sys/kernel/random/boot_id), every death
// of a process counts as one of the machine.
// A machine that was restored from a snapshot, and a file that was copied back from
// one, are not recognised: do not do that to a journal.
package journal
