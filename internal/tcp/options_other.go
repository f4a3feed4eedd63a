//go:build !linux

package tcp

import (
	"syscall"
	"time"
)

func setUserTimeout(syscall.RawConn, time.Duration) error { return nil }

func quickAck(syscall.RawConn) {}
