package giveway

import (
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pair is a connection, and the other end of it.
func pair(t *testing.T) (nc *net.UnixConn, other int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "")
	c, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		t.Fatal(err)
	}
	nc, _ = c.(*net.UnixConn)
	t.Cleanup(func() {
		_ = nc.Close()
		_ = unix.Close(fds[1])
	})
	return nc, fds[1]
}

func raw(t *testing.T, nc *net.UnixConn) syscall.RawConn {
	t.Helper()
	r, err := nc.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAMessageIsUnreadUntilItIsReadOrItsConnectionClosed(t *testing.T) {
	s := open()
	t.Cleanup(func() { _ = unix.Close(s.watches()) })
	nc, other := pair(t)
	s.watch(raw(t, nc))
	expect := func(want bool) {
		t.Helper()
		if got := s.unread(); got != want {
			t.Fatalf("unread: %v, want %v", got, want)
		}
	}
	expect(false)
	for range 2 {
		if _, err := unix.Write(other, []byte("x")); err != nil {
			t.Fatal(err)
		}
		expect(true)
		expect(true)
		if _, err := nc.Read(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		expect(false)
	}
	if _, err := unix.Write(other, []byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
	expect(false)
}

// With one processor nobody but who moves bytes can look what the network has.
func TestAReaderRunsWhileSomebodyMovesBytesWithoutEnd(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := open()
	t.Cleanup(func() {
		_ = unix.Close(s.watches())
		_ = s.turn.event().Close()
	})
	nc, other := pair(t)
	s.watch(raw(t, nc))
	var got atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := nc.Read(make([]byte, 1)); err != nil {
				return
			}
			got.Add(1)
		}
	}()
	runtime.Gosched() // until it waits
	const messages = 100
	soon := 0
	for i := range int32(messages) {
		if _, err := unix.Write(other, []byte("x")); err != nil {
			t.Fatal(err)
		}
		steps := 0
		for got.Load() <= i {
			s.step()
			steps++
		}
		if steps <= 3 {
			soon++
		}
	}
	if soon < messages*3/4 { // another thread may be at the network
		t.Errorf("%d of %d messages were read within three steps", soon, messages)
	}
	_ = nc.Close()
	<-done
}

func TestStepsCostNextToNothingWhileNoMessageWaits(t *testing.T) {
	s := open()
	t.Cleanup(func() { _ = unix.Close(s.watches()) })
	if n := testing.AllocsPerRun(100, s.step); n > 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkStep(b *testing.B) {
	for b.Loop() {
		Step()
	}
}
