// Package sim plays schedules of remote procedure calls against the state machines
// of package session, and checks what was promised against what has really
// happened.
//
//	seed ─▶ Schedule ─▶ world: virtual time, one event after the other
//	                      │
//	          program ◀───┼───▶ link ◀───▶ server ─── workers
//	         (Client)     │  cut, slow,   (Domain)     │   journal
//	              │       │  stalled        │          │
//	              ▼       ▼                 ▼          ▼
//	            truth: every start, end and effect, as nobody in it can see them
//
// A schedule has some programs and servers, a few dozen calls (idempotent or not, to be
// sent once or as often as it takes, in lanes or not, with deadlines, cancelled), and
// all that goes wrong: connections are lost, at one end sooner than at the other, with
// what is under way arriving or not; messages are late, by more than a lease; a client
// makes a second connection beside a good one, or before it knows that the first is
// lost; nodes cannot reach each other; processes are stopped, for longer than a lease;
// servers crash before, in and after each record that they write, each message, each
// hand-over, and lose their journal, or the end of it with the power; servers drain, and
// start again; servers are replaced; servers leave the list, and are on it again, as
// what they were or with a new epoch, dead or alive meanwhile, while what was sent to
// them is under way; a server's name leads to another one for a while; programs crash;
// workers die before a call, before its effect and after; handlers run for longer than a
// lease. Clocks start anywhere and run at different speeds. Then the storm ends, and
// everything must come to an end by itself.
//
// Nothing comes twice by one connection, which is a stream. What is sent again by another comes
// twice, in any order: while the first runs, when it has ended, when it is closed.
//
// What a program does when the list changes is what package client does: a server that has left it
// gets no new calls, what is open there goes on, and it is given up when nothing is, or when its
// connection is lost. When it is back, it is called at once.
//
// What is checked (type truth): the promises that package session lists. Besides:
// that a call that is to be sent once leaves its program by one connection at most,
// that no call outlives its deadline and grace, that none waits for ever, and that in
// the end nothing is kept.
//
// One in 1,000 seeds of `make sim` is also played with a key-value store, whose history must be
// linearizable.
//
// That the checks can fail is shown by mutants: shells that do one thing wrong on
// purpose. Each is found within a number of schedules. That the schedules lead
// everywhere is shown by their [Coverage].
//
// # Playing it
//
//	make sim SEEDS=10000000
//	go test ./rpc/session/sim -run TestSchedules -seed 135 -without cut,delay -storm 300ms
//
// The same seed is the same schedule, to the last event. One that breaks a promise
// is narrowed before it is printed: faults that it does not need are left out, and
// the storm is shortened. In each schedule some kinds of fault are frequent and some
// do not happen, so that few hide behind many.
package sim
