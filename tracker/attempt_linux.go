package tracker

import (
	"errors"
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// attempt writes to a socket without ever waiting for it. Its fields pass
// arguments to a function that is made once, so that a write allocates nothing.
type attempt struct {
	raw  syscall.RawConn
	step func(fd uintptr) bool
	ack  func(fd uintptr)
	p    []byte
	n    int
	err  error
}

func (a *attempt) init(raw syscall.RawConn) {
	a.raw = raw
	a.ack = func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) }
	a.step = func(fd uintptr) bool {
		for {
			a.n, a.err = unix.Write(int(fd), a.p)
			if !errors.Is(a.err, unix.EINTR) {
				return true // whatever the outcome: do not wait
			}
		}
	}
}

// try writes what the socket takes at once. A full socket takes nothing, which
// is no error. Calls must not overlap.
func (a *attempt) try(p []byte) (n int, err error) {
	a.p = p
	err = a.raw.Write(a.step)
	a.p = nil
	switch {
	case err != nil:
		return 0, err
	case errors.Is(a.err, unix.EAGAIN):
		return 0, nil
	case a.err != nil:
		return 0, a.err
	}
	return a.n, nil
}

// acked returns how many bytes the peer's kernel has acknowledged. Where the
// kernel does not tell, that is all of them.
func (a *attempt) acked() int64 {
	acked := int64(math.MaxInt64)
	_ = a.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil && info.Bytes_acked > 0 {
			acked = int64(info.Bytes_acked)
		}
	})
	return acked
}

// ackNow sends the ACK that the kernel holds back for a while in the hope of
// data to send it with. A socket that is going away refuses; its next read says
// so better.
func (a *attempt) ackNow() {
	_ = a.raw.Control(a.ack)
}
