// Package visit is a client of a pool that tells what it meets: it asks for a
// server, calls a function, holds the session for a while, and asks again.
//
//	asked ──▶ granted ──▶ working ── held ──▶ done
//	  ▲          │            └── fails ──▶ lost (what the client was told)
//	  └──────────┴── the tracker or the server could not be reached: refused
//
// Each step is a line of JSON with its time. What the faults of a test cost is the
// difference between these times and the fault's own.
//
// It keeps nothing; a crash of it ends its session.
package visit
