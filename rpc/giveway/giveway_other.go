//go:build !linux

package giveway

import "syscall"

type system struct{ crossing }

func open() *system { return nil }

func (*system) watch(syscall.RawConn) {}
