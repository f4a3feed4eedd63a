// Package agent is the program above the workers: it starts them, hands them
// their sessions, keeps their deadlines, kills their whole process trees, reaps
// them and reports how each ended. It is PID 1 of a device container, or a
// child of the server on a bare machine. It holds no policy and knows no RPC
// protocol, so it is small enough to trust.
//
// It runs on Linux only: what makes its promises true (subreapers, parent-death
// signals, cgroups, /proc) exists nowhere else. On other systems the package
// builds, and [Run] says so.
//
// # A worker's life
//
// [life] is the pure core, one value a worker; everything else is a thin shell
// around it.
//
//	start                                      (cold: the session comes with the start)
//	  │
//	  ▼          fork           exec ok, cold
//	forking ──▶ launching ─────────────────────────────────────────▶ busy
//	  │            │ exec ok, warm       'R'          session         │
//	  │            └───────────▶ warming ───▶ spare ─────────────────▶│
//	  │ failed                     │            │                     │
//	  │               start        │            │ lost its     kill,  │
//	  │               timeout, kill│            │ socket, kill deadline
//	  │                            ▼            ▼                     ▼
//	  │                           terminating (SIGTERM sent, grace runs)
//	  │                                   │ grace over
//	  │      worker ended, in any phase   ▼
//	  │            ───────────────────▶ killing (SIGKILL, until the tree is gone)
//	  │                                   │  └─ outlives it: unkillable, goes on waiting
//	  │                                   ▼
//	  └──▶ exited ◀───────────────── cleaning (work directory, output, cgroup)
//
// # Why nothing escapes
//
// Between fork and exec of a worker stands a trampoline, this same program
// ([MaybeExec]), which makes the worker a child subreaper. So every descendant,
// however often it forks or changes its session, stays in the worker's subtree
// while the worker lives. The agent is a subreaper too, so when the worker is
// dead its orphans become the agent's children. A child of the agent that is
// neither a live worker nor in the agent's own session (where no descendant of
// a worker can ever be) is therefore an orphan of a dead worker: it is killed
// with all its descendants, and reaped. A worker's tree is gone when it is
// reaped and a scan that began later finds no orphan that could be its own: of
// the orphans of a tree, at least one is a direct child of the agent at any
// time, and a direct child cannot vanish before the agent reaps it.
//
// Where control groups are writable, each worker has its own: in version 2,
// whose cgroup.kill then does the killing first, or else in the freezer of
// version 1. Nothing depends on it. The same groups, of either version, hold a
// worker to its limits and tell its own lack of memory from its neighbour's;
// what cannot be limited the hello says, with the reason. In version 2 limits
// need the agent's group to be free of processes, so the agent moves all that
// are in it, itself among them, into a leaf below, and back when it ends.
//
// Because of this rule a process runs one agent at most ([ErrRunning]), and a
// program that runs one inside itself must not start other children in
// sessions of their own.
//
// # What a program under test cannot take
//
// It runs with the agent's user and can find the socket and the work root. A
// process that connects is known by its pid (SO_PEERCRED): one that is below a
// worker, live or dead, is refused and the present sidecar stays. The work
// root may be removed, renamed, replaced or denied to its owner: each start of
// a worker looks, makes it anew and takes its lock again, or fails with an
// error that names the path, until the cause is gone. The socket is not made
// anew: if its file is removed, the present connection lasts, and the next one
// needs a new agent.
//
// # What a crash loses
//
// The agent's crash kills its workers (parent-death signal) and so their
// sessions. As PID 1 the kernel kills all their descendants too. On a bare
// machine a guard does ([Guarded]), which the agent of a server is below:
//
//	server
//	  │ standard input, pidfd: the server's end ends the agent in order
//	  │ SIGTERM: end in order; SIGQUIT: kill the agent, it hangs
//	  ▼
//	guard: subreaper; ends last, and with the agent's status
//	  │ standard input, pidfd: the guard's end ends the agent in order
//	  │ SIGTERM, SIGKILL
//	  ▼
//	agent: subreaper
//	  │ parent-death signal
//	  ▼
//	workers: subreapers ──▶ descendants, in whatever sessions
//
// When the agent has ended, however it did, all that it left is below the guard,
// which kills it and ends when there is none: until then nobody starts the next
// agent. What does not die of SIGKILL the guard names in the log and leaves
// after 10 s, with status 1. Without a server above it (no --die-with-parent)
// an agent has no guard: what starts it there, a container's runtime or a
// service manager, kills by container or control group.
//
// If guard and agent are killed at once, which takes somebody who means both,
// descendants of workers outlive them until the next agent with the same work
// root starts. It kills those it knows, by RPCPOOL_WORKDIR in their first
// environment, by their control group, and by a current directory in the work
// root, and removes the work directories left behind. One without control
// groups does not know a process that has left all that behind.
//
// The sidecar's crash loses nothing here: workers with sessions go on under
// their deadlines; the next sidecar learns of them from the hello, and after it
// gets the ends of those that ended meanwhile.
package agent
