package conn

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/socket"
)

// attempt is a socket. Its fields pass arguments to a function that is made once, so that nothing is
// allocated: one is for who writes, and another for who reads.
type attempt struct {
	raw    syscall.RawConn
	write1 func(fd uintptr) bool
	read1  func(fd uintptr) bool
	p      [][]byte
	one    [1][]byte
	wait   bool
	again  bool // the last call found nothing to be read, or no room
	n      int
	err    error
}

func newAttempt(raw syscall.RawConn) trier {
	a := &attempt{raw: raw}
	a.write1 = func(fd uintptr) bool { return a.step(int(fd), writev) }
	a.read1 = func(fd uintptr) bool { return a.step(int(fd), readv) }
	return a
}

func writev(fd int, p [][]byte) (int, error) {
	if len(p) == 1 {
		if len(p[0]) <= socket.Short {
			return socket.TryWrite(fd, p[0]) //nolint:wrapcheck // the caller compares numbers
		}
		return unix.Write(fd, p[0]) //nolint:wrapcheck // the caller compares numbers
	}
	return unix.Writev(fd, p) //nolint:wrapcheck // the caller compares numbers
}

func readv(fd int, p [][]byte) (int, error) {
	if len(p) == 1 && len(p[0]) <= socket.Short {
		return socket.TryRead(fd, p[0]) //nolint:wrapcheck // the caller compares numbers
	}
	return unix.Readv(fd, p) //nolint:wrapcheck // the caller compares numbers
}

// step tells whether there is nothing to wait for.
func (a *attempt) step(fd int, call func(int, [][]byte) (int, error)) bool {
	for {
		a.n, a.err = call(fd, a.p)
		a.again = errors.Is(a.err, unix.EAGAIN)
		switch {
		case errors.Is(a.err, unix.EINTR):
			continue
		case a.again:
			a.n, a.err = 0, nil
			return !a.wait
		}
		a.n = max(a.n, 0)
		return true
	}
}

// write implements [trier].
func (a *attempt) write(p [][]byte, wait bool) (int, error) {
	a.p, a.wait, a.n, a.err = p, wait, 0, nil
	err := a.raw.Write(a.write1)
	a.p = nil
	if err != nil {
		return 0, err //nolint:wrapcheck // the caller does
	}
	return a.n, a.err
}

// read implements [trier].
func (a *attempt) read(p [][]byte) (int, error) {
	a.p, a.wait, a.n, a.err = p, true, 0, nil
	return a.readOnce()
}

// look implements [trier].
func (a *attempt) look(p []byte) (int, error) {
	a.one[0] = p
	a.p, a.wait, a.n, a.err = a.one[:], false, 0, nil
	return a.readOnce()
}

func (a *attempt) readOnce() (int, error) {
	err := a.raw.Read(a.read1)
	a.p = nil
	switch {
	case err != nil:
		return 0, err //nolint:wrapcheck // the caller does
	case a.n == 0 && a.err == nil && !a.again:
		return 0, io.EOF
	}
	return a.n, a.err
}

// yield lets others run who wait for this processor.
func yield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
