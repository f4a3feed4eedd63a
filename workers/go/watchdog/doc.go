// Package watchdog ends the process at a deadline, whatever the rest of it does.
//
// It is for programs that serve sessions themselves, one after another: code
// that a session brings along may loop for ever, hold every lock, or be deep in
// a native library. A watchdog is armed when a session starts and disarmed when
// it ends. At the deadline the process exits at once with status 0: nothing
// deferred runs, no handler of atexit, no goroutine gets a word in. Whoever
// started the program starts it again (see package monitor).
//
//	            Start                    deadline
//	Disarmed ──────────▶ Armed ─────────────────────▶ the process exits 0
//	    ▲                 │  ▲ │                          │ it could not
//	    └────── Stop ─────┘  └─┘ Start: a new deadline    ▼
//	    │                                             Grace (25 ms) later:
//	    ▼ Close                                       the backstop kills it
//	 Closed
//
// # The thread
//
// The watchdog is a thread of its own that waits in a system call. How much of
// the Go runtime it needs to act, when its time has come, depends on the system:
//
//	Linux on amd64, arm64  futex(2), then exit_group(2)           nothing: it never comes back into Go
//	other Unix             poll(2) on a pipe, then _exit(2)       a turn of the scheduler
//	Windows                WaitForSingleObject, TerminateProcess  a turn of the scheduler
//
// Where it needs nothing it acts although no goroutine can: every P computes,
// ten thousand goroutines are ahead in the queue, or the collector has stopped
// the world and waits for ever for a loop in assembly. Where it needs a turn,
// such a program is the backstop's.
//
// # The backstop
//
// The backstop needs no thread and no Go:
//
//	Linux    a timer of the kernel's (timer_create(2)) that sends SIGKILL
//	Windows  a timer queue's timer, whose callback is ExitProcess(0) itself
//	other    none: darwin has no timer that acts on a process without its help
//
// On Linux a process that the backstop has to end dies by SIGKILL, which tells
// its parent which of the two it was. The kernel does not let process 1 of a
// PID namespace kill itself: there the thread is alone.
//
// # What it owns, what a crash loses
//
// A watchdog owns one thread, a timer, and outside of Linux a pipe or an event.
// It keeps nothing on disk and knows nothing of sessions: when the process ends,
// by it or otherwise, nothing of it is left. What the process was doing is lost;
// that is what it is for.
package watchdog
