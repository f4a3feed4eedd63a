//go:build !linux

package conn

import "syscall"

// newAttempt makes none: here nothing can be tried without waiting, so everything is left to a goroutine that
// may wait.
func newAttempt(syscall.RawConn) trier { return nil }

func yield() {}
