// Package schedule is the queue of a server of native calls: it says which call is
// refused, which waits, and which runs next.
//
//	          Push                      Pop
//	(idle) ─────────▶ waiting ───────────────────▶ running ── Done, Unpop ──▶ (idle)
//	   ▲                 │ deadline, or it stands     │ ▲
//	   ├──── Shed ───────┤ too long                   │ │ Pop
//	   └──── Remove ─────┘                            ▼ │
//	                                      calls that it is Under: inner calls
//
// What package session wants queued is pushed; what Push refuses, or Shed for another
// reason than Late, is for its Refuse; what is popped, or shed as Late, for its Take,
// which looks once more; what then does not start is for Unpop.
//
// It is pure: no goroutines, no I/O, no clock; the time on the server's clock is
// passed in. It is not safe for concurrent use. It owns nothing but the order: a
// crash loses nothing that the session's table does not have. All operations take constant
// time, amortised, whatever waits and from however many clients, and allocate
// nothing once a client is known: a [Call] holds its own nodes. It is its caller's
// again after Done, Unpop, Remove, Shed or a Push that was refused.
//
// # Who is next
//
//	priority   interactive : normal : bulk = 8 : 4 : 1 of the time of the slots
//	  client   in turn, one call each
//	    gate   in turn, one call each
//	      call oldest first
//
// Priorities share time, not calls: a bulk call may take a thousand times as long
// as an interactive one, and one for every eight of those would leave these almost
// nothing. Each pays for the time that its calls take, 1, 2 or 8 for a microsecond,
// and who has paid least is next: when a call starts it pays what its method is
// expected to take, when it ends the difference. One call pays for a minute at the
// most, so that one that got stuck does not lock its kind out for hours. Who had
// nothing to run has saved nothing by that, and when nothing waits all is forgotten.
// None starves: each is next when the others have paid as much, which they do.
//
// Clients of one priority share calls, not time: so a client with ten thousand
// calls delays the first of another by one call, whatever is known of how long
// calls take. Between clients with very different calls it is the priority that
// is to be different.
//
// A gate is what bounds how many calls of a method, or of the methods of one
// device, run at once. A client's calls behind one gate start in the order in which
// they came; those of methods without a bound count as one gate. A gate that is
// used up holds up nobody else. It has a row of clients of its own for each
// priority, and only so many of them as there is room for take part in the turns
// above: so no call is ever looked at that cannot start. A client's gates take
// turns: if its older calls went first, one whose turn it is at a device would keep
// others from it without using it.
//
// # What is refused
//
// At once, by Push:
//
//   - Full: so many wait already. A client may have as many waiting as there is
//     room left, in calls and in bytes: one alone half of the room, two a third
//     each; so there is always room for another client's first.
//   - Hopeless: it would not start before its deadline, as far as is known. That is
//     what is ahead of it, by the turns above, times what such calls take, through
//     the slots, at its priority's share. It is never more than all that waits. What
//     is not known counts as nothing, so nothing is refused for it; the same holds
//     for what runs, for the time that the call will take itself, and for the slots
//     that are used by other gates. So the error is to let too many in. For noise in
//     the estimate half as much again is allowed.
//   - Late, Large, Deep: the deadline has passed, it can never fit, inner calls are
//     nested too deeply. There is no use in trying again.
//
// Later, by Shed:
//
//   - Late: its deadline had passed when it was its turn.
//   - Standing: at this gate and priority every call that was taken within an interval had
//     waited longer than a target, and the queue was never empty. So the queue is
//     not a burst; it only makes all wait. From there until an interval has passed without need
//     of it, all are refused that have waited for half of the target. The target is
//     [Options.Standing], times 1, 2 or 8 for the priority, as what has a smaller
//     share empties its queue more slowly; but no less than four calls take.
//
// The oldest are refused, not the newest. Those behind them gain at once, and have
// the most time left in which their answer is of use; the oldest is the one most likely
// to be given up. As all clients have turns, the oldest belong to those who
// queue most. The price is that it has waited for nothing, for half a target.
//
// A refusal says when to try again: when the queue should be short enough.
//
// # Inner calls
//
// A handler that runs here may call another server, whose handler calls this one.
// If that inner call had to wait for a slot, and the call that it is made for has the last
// one, both would wait for ever. So:
//
//  1. An inner call names the running call that it is made for: [Call.Under]. It runs
//     in that call's slot, beside it, since that one waits for it: Limit and the queue
//     of the others do not hold it up, and it starts before those.
//  2. A slot is a chain: each running call has at most one inner call running
//     directly under it, which may have one under it in turn, and so on. Further inner
//     calls of the same call wait for one another.
//  3. A gate that a call of the chain above has passed is open to the inner call:
//     the chain is one holder, as of a lock that may be taken twice. So at an
//     exclusive gate two calls run at once only if one is under the other. Other
//     gates it has to wait for, before all that are no inner calls.
//  4. If a call ends before those under it, its place in the chain closes up: what
//     runs under it keeps the slot, and the gate if it relied on it. Those that
//     wait become ordinary calls.
//  5. A chain has at most [Options.Depth] inner calls, so that calls which recur
//     without end are refused. Those that wait have room of their own, as
//     much as the others. They are not shed, and pay nothing: the outermost pays.
//
// The innermost call of a chain waits for no slot, so every chain comes to an end,
// and so does every wait for a slot. Not solved: two chains that each hold a gate
// and want the other's. Their deadlines end that, as with any two locks.
package schedule
