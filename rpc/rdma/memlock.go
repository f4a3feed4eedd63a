package rdma

import (
	"errors"
	"fmt"
	"math"
	"syscall"
)

// locked is how much memory this process may pin.
type locked struct {
	limit   uint64 // RLIMIT_MEMLOCK, bytes
	capable bool   // CAP_IPC_LOCK is in effect: there is no limit
}

// registerError says why memory of so many bytes, beside pinned ones, is not registered.
func registerError(err error, bytes int, pinned int64, read func() (locked, error)) *Error {
	if !errors.Is(err, syscall.ENOMEM) {
		return failure(NoMemory, "register %d bytes: %w", bytes, err)
	}
	l, readErr := read()
	if readErr != nil {
		return failure(NoMemory, "register %d bytes: %w (limit unknown: %w)", bytes, err, readErr)
	}
	if l.capable || l.limit == math.MaxUint64 {
		return failure(NoMemory, "register %d bytes beside %d: %w", bytes, pinned, err)
	}
	return &Error{Reason: Memlock, Err: &MemlockError{Bytes: bytes, Pinned: pinned, Limit: l.limit, Err: err}}
}

// MemlockError says that the process may not pin enough memory, and what to do.
type MemlockError struct {
	Bytes  int    // that were to be registered
	Pinned int64  // that are already
	Limit  uint64 // RLIMIT_MEMLOCK, bytes
	Err    error
}

func (e *MemlockError) Error() string {
	return fmt.Sprintf("register %d bytes beside %d: %v: RLIMIT_MEMLOCK is %d bytes, and the capability IPC_LOCK is not in effect. "+
		"Run the container as root with IPC_LOCK (other users do not get it), or set cap_ipc_lock+ep on the program's file, "+
		"or raise LimitMEMLOCK of the container runtime", e.Bytes, e.Pinned, e.Err, e.Limit)
}

func (e *MemlockError) Unwrap() error { return e.Err }
