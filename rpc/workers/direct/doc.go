// Package direct starts workers of calls as children of this process: on a plain
// machine, or inside a program that wants what it calls to crash elsewhere.
//
//	this process                                        worker
//	  launcher: one OS thread ── fork, exec ──────────▶ process group of its own
//	  call channel ◀──────────── socket pair ─────────▶ descriptor 3
//	  ring of the last 64 KiB ◀─ pipe ──────────────── stdout, stderr
//	  watcher ◀───────────────── pidfd ──────────────── its end, seen at once, reaped
//	  sweeper ── SIGKILL ───────────────────────────▶  what it has left behind
//
// # Nothing is left
//
// The kernel kills a worker when the thread that has forked it ends, so that thread is
// the launcher's for as long as there may be workers; and a worker ends with its
// channel. Kill stops the worker's group, kills all below it that /proc shows, and the
// group. What is left when a worker has ended, however it did, is known by the group
// of the worker, or by RPCPOOL_WORKER in its first environment, and is killed by the
// sweeper, which looks until it finds nothing. A descendant that has both left the
// group and hidden the mark (an empty environment, a title in its place), and whose parent
// is dead, is not known. The agent of a pod is stricter: it is a subreaper, which a
// library must not make its program.
//
// A worker stays in this process's session: a kernel that groups processes by session, where no control
// group does, lets the two follow each other on a processor without waiting (sched_yield). So a server that was started in a terminal
// shares that with its workers, which are in its background: one that asks there (/dev/tty, as for a password) is stopped by the
// system, and killed when its call's time is over.
//
// # Descriptors
//
// A worker gets 0 to 3. Go opens all others to be closed on exec. Those that this
// process was born with are not, so New marks them: a worker that has a terminal, a pipe
// or a listener of others keeps it from ending.
//
// # What a crash loses
//
// The crash of this process ends its workers, and with them what they ran.
//
// It runs on Linux. On other systems New says so.
package direct
