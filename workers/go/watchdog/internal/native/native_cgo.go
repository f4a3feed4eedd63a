//go:build cgo

package native

/*
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void loop(void) { for (;;); }

static void tell(void) {
	static const char text[] = "atexit ran\n";
	if (write(1, text, sizeof text - 1) < 0) _exit(99);
}

static void at_exit(void) { atexit(tell); }

#ifndef _WIN32
static void lock_stdout(void) { flockfile(stdout); }
#else
static void lock_stdout(void) {}
#endif
*/
import "C"

// Available tells whether the functions do anything: only a program with cgo
// has them.
const Available = true

// Loop computes in C for ever.
func Loop() { C.loop() }

// TellAtExit has the C library write a line to descriptor 1 when it exits.
func TellAtExit() { C.at_exit() }

// LockStdout takes, and keeps, the lock of C's standard output, on which an
// exit of the C library from another thread waits for ever.
func LockStdout() { C.lock_stdout() }
