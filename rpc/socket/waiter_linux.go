package socket

import (
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// waiter lets a goroutine sleep until something happens to a socket: an epoll instance with nothing
// else in it, armed while somebody sleeps, which itself is in the runtime's poller. One sleeps at a time.
type waiter struct {
	fd     int // the socket
	events uint32
	file   *os.File // the instance
	raw    syscall.RawConn
	step   func(ep uintptr) bool // made once, so that nothing is allocated
	armed  bool
}

func (w *waiter) open(fd int, events uint32) error {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	_ = unix.SetNonblock(ep, true) // or the runtime would not wait for it
	w.fd, w.events, w.file = fd, events|unix.EPOLLONESHOT, os.NewFile(uintptr(ep), "epoll")
	if w.raw, err = w.file.SyscallConn(); err == nil {
		err = w.file.SetDeadline(time.Time{}) // fails if the runtime cannot wait for it
	}
	if err == nil {
		err = os.NewSyscallError("epoll_ctl", w.control(ep, unix.EPOLL_CTL_ADD, unix.EPOLLONESHOT))
	}
	if err != nil {
		_ = w.file.Close()
		w.file = nil
		return err
	}
	w.step = w.armOrTake
	return nil
}

func (w *waiter) control(ep, op int, events uint32) error {
	e := unix.EpollEvent{Events: events}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(ep), uintptr(op), uintptr(w.fd), uintptr(unsafe.Pointer(&e)), 0, 0) //nolint:gosec // the event is kept
	if errno != 0 {
		return errno
	}
	return nil
}

// armOrTake arms the instance, and when it is called again takes what has happened, which disarms it.
// It looks in both cases: what happens between two sleeps, or while the first was ending, may be in the instance's
// list already, and nobody is told of that twice.
func (w *waiter) armOrTake(ep uintptr) (happened bool) {
	if !w.armed {
		w.armed = true
		if w.control(int(ep), unix.EPOLL_CTL_MOD, w.events) != nil {
			return true // a try tells why
		}
	}
	var e unix.EpollEvent
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, ep, uintptr(unsafe.Pointer(&e)), 1, 0, 0, 0) //nolint:gosec // the same
	return errno == 0 && n > 0
}

// sleep waits until it has happened, or fails with [net.ErrClosed] or [os.ErrDeadlineExceeded].
func (w *waiter) sleep() error {
	w.armed = false
	err := w.raw.Read(w.step)
	if err != nil && !os.IsTimeout(err) {
		return net.ErrClosed
	}
	return err //nolint:wrapcheck // it is a time-out
}
