//go:build !cgo

package native

// Available tells whether the functions do anything: only a program with cgo
// has them.
const Available = false

// Loop does nothing.
func Loop() {}

// TellAtExit does nothing.
func TellAtExit() {}

// LockStdout does nothing.
func LockStdout() {}
