// Package misbehave holds functions that do to a worker what bad programs do,
// and a few that tell what a worker sees. They are for tests of supervisors,
// never for production: whoever can call them can kill the worker, which the
// programs that are tuned can do anyway.
//
//	name                    does                                                      the process
//	test.segfault           reads address 0 with the default action for SIGSEGV       dies by SIGSEGV
//	test.illegal            executes an illegal instruction, as above                 dies by SIGILL
//	test.abort              aborts, as C's abort does                                 dies by SIGABRT
//	test.exit(n)            exits within the call                                     exits n
//	test.exit0              exits within the call, as if all were well                exits 0
//	test.exit_thread(n)     exits from another thread                                 exits n
//	test.panic              panics on another goroutine                               exits 2
//	test.stackoverflow      recurses without end (64 MiB)                             exits 2
//	test.deadlock           blocks with nobody left to wake it                        exits 2, or hangs
//	test.spin               computes for ever                                         hangs
//	test.gc_stall           stops the world for good: GC waits for loops in assembly  hangs
//	test.silent             sends one heartbeat, then no more and no reply            hangs
//	test.ignore_sigterm     ignores SIGTERM, then spins                               hangs
//	test.sigstop            stops itself                                              is stopped
//	test.hog(bytes)         allocates and touches so much, and keeps it               may be killed
//	test.leakfd(n)          opens n descriptors and forgets them                      goes on
//	test.closefds           closes every descriptor but 0, 1, 2                       fails to reply
//	test.garbage            writes garbage to every connected socket                  goes on
//	test.grandchildren(n)   leaves n processes: own sessions, SIGTERM ignored         goes on
//	test.forkbomb(n)        leaves n processes that started one another, ditto        goes on
//	test.sleep(s)           sleeps s seconds                                          goes on
//
// test.echo(x), test.addone(i), test.strcat(a, b) compute; test.pid,
// test.env(name), test.fds, test.fsize(n) look around.
//
// The processes that are left behind end by themselves after [LeftBehindFor].
// They own nothing, and a crash of theirs loses nothing.
package misbehave
