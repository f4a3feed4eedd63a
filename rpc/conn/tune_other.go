//go:build !linux

package conn

import "syscall"

func boundUnsent(syscall.RawConn) {}
