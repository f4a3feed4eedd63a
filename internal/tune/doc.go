// Package tune is a tuning job: it searches for the fastest configuration of
// the matrix product in package matmul, by measuring configurations on the
// servers of a pool, many at a time.
//
// It owns the search, the trials' records, the live display, the summary and
// the picture. It is a client like any other tuner: for every trial it asks the
// tracker for a server, opens a session, calls a function and closes the
// session. What a trial does to its server is the server's affair.
//
//	Search ── Next ──▶ Tuner (P at a time) ── Open, Measure, Close ──▶ Pool
//	   ▲                  │
//	   └───── Tell ───────┤
//	                      └──▶ records (JSON lines) · Status ──▶ display
//
// A trial's way:
//
//	(Next) ──▶ Waiting ── session ──▶ Measuring ──▶ ok, wrong-result
//	              │ no session: again,    │
//	              │ until patience ends   ├──▶ crash, timeout, error
//	              ▼                       │
//	          job fails                   └── interrupted: no record
//
// [Search] is pure: no clock, no I/O, its randomness comes from a seed.
//
// What a crash loses: the trials that were being measured. Records are written
// as trials end.
package tune
