// Package monitor starts a program again whenever it ends: by a crash, by a
// kill, or with any exit status, 0 included. That is all it does. It is the
// other half of a watchdog, whose way to end a session is to end the process.
//
//	              started              ended
//	Starting ──────────────▶ Running ──────────▶ Pausing ──▶ Starting …
//	    │ could not start       │                   ▲
//	    └───────────────────────┼───────────────────┘
//	                            │ context ended: kill, wait
//	                            ▼
//	                          Done
//
// There is no pause after a program that ran for a while. After one that ended
// at once there is, and it doubles while that goes on: a program that cannot
// run must not take the machine with it.
//
// It imports os/exec and no protocol, and runs where Go does; it needs no fork.
// It owns its child and keeps nothing. If the monitor itself is killed, the
// program runs on, unless [Monitor.Command] asks the system for something else
// (on Linux: SysProcAttr.Pdeathsig).
package monitor
