package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// poorWait is for how long who has no descriptors sleeps without looking whether it is to go on.
const poorWait = 50 * time.Millisecond

// Conn is a connected stream socket. At most one goroutine reads at a time, and one writes.
type Conn struct {
	fd            int
	local, remote net.Addr
	users         Users // of the descriptor: the open connection, and each call that uses it
	born          time.Time

	rd, wr side

	mu   sync.Mutex
	over bool // closed
}

// side is one direction.
type side struct {
	waiter

	deadline Deadline
	until    time.Time // the same; guarded by the connection's lock
}

// Take makes a socket the runtime's poller's no more: nc is closed, and what is returned has its
// descriptor. It returns false, and leaves nc as it is, where it is no socket of the net package, the system does not
// let it, or the process has used half of the descriptors that it may have: as it takes one more for each socket.
func Take(nc net.Conn) (*Conn, bool) {
	if w, is := nc.(interface{ Underlying() net.Conn }); is {
		nc = w.Underlying()
	}
	var raw syscall.RawConn
	var err error
	switch s := nc.(type) {
	case *net.UnixConn:
		raw, err = s.SyscallConn()
	case *net.TCPConn:
		raw, err = s.SyscallConn()
	default:
		return nil, false
	}
	c := &Conn{fd: -1, local: nc.LocalAddr(), remote: nc.RemoteAddr(), born: time.Now()}
	if err == nil {
		err = raw.Control(func(fd uintptr) { c.fd, _ = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	}
	if err != nil || c.fd < 0 {
		return nil, false
	}
	if scarce(c.fd) || c.rd.open(c.fd, unix.EPOLLIN|unix.EPOLLRDHUP) != nil {
		_ = unix.Close(c.fd)
		return nil, false
	}
	c.users.Open()
	_ = nc.Close()
	return c, true
}

// scarce tells whether a process whose next descriptor is that one may have few more.
func scarce(fd int) bool {
	var limit unix.Rlimit
	return unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil && uint64(fd) >= limit.Cur/2
}

func (c *Conn) unuse() {
	if c.users.Done() {
		_ = unix.Close(c.fd)
	}
}

// attempt tries f until it has not to wait any more.
func (c *Conn) attempt(s *side, f func(fd uintptr) (done bool)) error {
	if !c.users.Use() {
		return net.ErrClosed
	}
	defer c.unuse()
	for {
		if s.deadline.Over(c.born) {
			return os.ErrDeadlineExceeded
		}
		if f(uintptr(c.fd)) {
			return nil
		}
		if err := c.sleep(s); err != nil {
			return err
		}
	}
}

// sleep waits until there is something to read, or room to write.
func (c *Conn) sleep(s *side) error {
	if s == &c.wr {
		if can, err := c.mayFill(); !can {
			return err
		}
	}
	return s.sleep()
}

// mayFill makes the instance for writers, which most connections never need. Where there is no descriptor for
// it, it waits itself.
func (c *Conn) mayFill() (can bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over:
		return false, net.ErrClosed
	case c.wr.file != nil:
		return true, nil
	case c.wr.open(c.fd, unix.EPOLLOUT) == nil:
		return true, c.wr.file.SetReadDeadline(c.wr.until) //nolint:wrapcheck // it cannot fail
	}
	c.mu.Unlock()
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}, int(poorWait/time.Millisecond))
	c.mu.Lock()
	return false, nil // the next try tells
}

// Read implements [net.Conn].
func (c *Conn) Read(p []byte) (n int, err error) {
	if !c.users.Use() {
		return 0, net.ErrClosed
	}
	defer c.unuse()
	for err == nil {
		if c.rd.deadline.Over(c.born) {
			return 0, os.ErrDeadlineExceeded
		}
		n, err = TryRead(c.fd, p[:min(len(p), Short)])
		switch {
		case n > 0 || len(p) == 0 && err == nil:
			return n, nil
		case err == nil:
			return 0, io.EOF
		case errors.Is(err, unix.EINTR):
			err = nil
		case errors.Is(err, unix.EAGAIN):
			err = c.sleep(&c.rd)
		default:
			err = os.NewSyscallError("read", err)
		}
	}
	return 0, err
}

// Write implements [net.Conn].
func (c *Conn) Write(p []byte) (n int, err error) {
	failed := c.attempt(&c.wr, func(fd uintptr) bool {
		for n < len(p) {
			var m int
			m, err = TryWrite(int(fd), p[n:min(len(p), n+Short)])
			switch {
			case err == nil:
				n += m
			case errors.Is(err, unix.EAGAIN):
				err = nil
				return false
			case !errors.Is(err, unix.EINTR):
				return true
			}
		}
		return true
	})
	if failed == nil {
		failed = os.NewSyscallError("write", err)
	}
	return n, failed
}

// Close implements [net.Conn]. The descriptor is closed when nobody uses it any more.
func (c *Conn) Close() error {
	c.mu.Lock()
	first := !c.over
	if first {
		c.over = true
		_ = c.rd.file.Close()
		if c.wr.file != nil {
			_ = c.wr.file.Close()
		}
	}
	c.mu.Unlock()
	if !first {
		return net.ErrClosed
	}
	c.unuse()
	return nil
}

// CloseWrite tells the peer that nothing more will come.
func (c *Conn) CloseWrite() error {
	return c.control(func(fd int) error { return os.NewSyscallError("shutdown", unix.Shutdown(fd, unix.SHUT_WR)) })
}

// SetWriteBuffer sets the size of the send buffer, in bytes.
func (c *Conn) SetWriteBuffer(bytes int) error {
	return c.control(func(fd int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bytes))
	})
}

func (c *Conn) control(f func(fd int) error) error {
	if !c.users.Use() {
		return net.ErrClosed
	}
	defer c.unuse()
	return f(c.fd)
}

// LocalAddr implements [net.Conn].
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements [net.Conn].
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements [net.Conn].
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.rd, t) }

// SetWriteDeadline implements [net.Conn].
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.wr, t) }

func (c *Conn) setDeadline(s *side, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return net.ErrClosed
	}
	s.until = t
	s.deadline.Set(t, c.born)
	if s.file == nil {
		return nil
	}
	return s.file.SetReadDeadline(t) //nolint:wrapcheck // it cannot fail
}

// SyscallConn implements [syscall.Conn].
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return (*raw)(c), nil }

// raw is a connection as a [syscall.RawConn].
type raw Conn

// Control implements [syscall.RawConn].
func (r *raw) Control(f func(fd uintptr)) error {
	return (*Conn)(r).control(func(fd int) error { f(uintptr(fd)); return nil })
}

// Read implements [syscall.RawConn].
func (r *raw) Read(f func(fd uintptr) bool) error { return (*Conn)(r).attempt(&r.rd, f) }

// Write implements [syscall.RawConn].
func (r *raw) Write(f func(fd uintptr) bool) error { return (*Conn)(r).attempt(&r.wr, f) }
