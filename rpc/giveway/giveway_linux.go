package giveway

import (
	"encoding/binary"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// system is a crossing of this system's. Its descriptors are made when there is a use for them.
type system struct {
	crossing

	watches func() int // epoll instance with all connections, as a descriptor; -1: there is none
	turn    turn
}

func open() *system {
	start := time.Now()
	s := &system{}
	s.watches = sync.OnceValue(func() int {
		fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return -1
		}
		return fd
	})
	s.turn.event = sync.OnceValue(newEvent)
	s.crossing = crossing{
		unread: s.unread,
		park:   s.turn.take,
		yield:  func() { _, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) },
		now:    func() time.Duration { return time.Since(start) },
	}
	return s
}

// watch is best effort: of a connection that is not watched nobody knows that it waits.
func (s *system) watch(raw syscall.RawConn) {
	at := s.watches()
	if at < 0 {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.EpollCtl(at, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	})
}

func (s *system) unread() bool {
	at := s.watches()
	if at < 0 {
		return false
	}
	var one [1]unix.EpollEvent
	n, _ := unix.EpollWait(at, one[:], 0)
	return n > 0
}

// turn lets goroutines run that the network has something for. Go looks for them when a
// processor has nothing else to do, and a goroutine that only lets others run is something to do:
// so the one whose turn it is waits for the network itself, for an event of its own making.
type turn struct {
	event func() *os.File // nil: there is none
	mu    sync.Mutex
}

func newEvent() *os.File {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), "giveway")
}

func (t *turn) take() {
	if !t.mu.TryLock() {
		return // somebody else sees to it
	}
	defer t.mu.Unlock()
	f := t.event()
	if f == nil {
		return
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	one := binary.NativeEndian.AppendUint64(nil, 1)
	made := false
	_ = raw.Read(func(fd uintptr) bool {
		if made {
			_, err := unix.Read(int(fd), one)
			return err == nil
		}
		_, err := unix.Write(int(fd), one)
		made = true
		return err != nil
	})
}
