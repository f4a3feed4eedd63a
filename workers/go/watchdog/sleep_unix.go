//go:build unix && !(linux && (amd64 || arm64))

package watchdog

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// sleeper waits in poll(2) on a pipe that rouse writes to.
type sleeper struct{ read, write int }

func (s *sleeper) open() error {
	var fds [2]int
	syscall.ForkLock.RLock() // there may be no pipe2(2)
	err := unix.Pipe(fds[:])
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return os.NewSyscallError("pipe", err)
	}
	s.read, s.write = fds[0], fds[1]
	for _, fd := range fds {
		if err := unix.SetNonblock(fd, true); err != nil {
			s.close()
			return os.NewSyscallError("fcntl", err)
		}
	}
	return nil
}

// rouse ends a sleep, now or the next. A pipe that is full has roused already.
func (s *sleeper) rouse() { _, _ = unix.Write(s.write, []byte{0}) }

// sleep waits for rouse, at most for ms milliseconds. It may return early. If a
// session has closed the pipe, it sleeps for a moment at a time.
func (s *sleeper) sleep(ms int) {
	fds := []unix.PollFd{{Fd: int32(s.read), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, ms)
	if n <= 0 || err != nil {
		return
	}
	var buf [64]byte
	if m, _ := unix.Read(s.read, buf[:]); m <= 0 {
		_, _ = unix.Poll(nil, blindly)
	}
}

const blindly = 10 // milliseconds between two looks at the deadline

func (s *sleeper) close() {
	_ = unix.Close(s.read)
	_ = unix.Close(s.write)
}
