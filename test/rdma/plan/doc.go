// Package plan is what a virtual machine is told to do, and how it tells what came of
// it. It is for tests.
//
//	host ── Plan, a file in the machine's root file system ──▶ guest
//	     ◀── lines on the serial console ────────────────────
//
// A plan is a list of steps. Each has a server, a client, or both. The client is
// started when the server listens; a step has succeeded when both have ended with
// status 0. If a server is on another machine, both machines have a step of that name,
// and meet before the client is started. The first step that fails ends the plan.
//
// Lines that begin with the mark are the guest's, and are read by [Parse]:
//
//	@@ begin STEP
//	@@ server TEXT          a line that the server has printed
//	@@ client TEXT
//	@@ end STEP SECONDS
//	@@ done                 all steps have succeeded
//	@@ failed WHY           so there is no end of the step
//
// All others are the kernel's, or what a process has written past its pipe. A machine
// that says neither done nor failed has failed.
package plan
