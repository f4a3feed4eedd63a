package ring

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long something may take that is expected at once.
const patience = 20 * time.Second

// bells returns both ends of a Unix socket.
func bells(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var c [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "bell")
		nc, err := net.FileConn(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		c[i], _ = nc.(*net.UnixConn)
	}
	return c[0], c[1]
}

// pair returns both ends of a connection by memory, each with a mapping of its own, and their sockets.
func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	m, f, err := New()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := Map(f)
	if err != nil {
		t.Fatal(err)
	}
	bellA, bellB := bells(t)
	if a, err = Over(m, bellA); err == nil {
		b, err = Over(theirs, bellB)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
	})
	return a, b
}

// soon fails if nothing comes.
func soon[T any](t *testing.T, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatalf("%s: nothing happened", what)
	}
	return v
}

// until waits for what another goroutine has put into the memory.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not %s", what)
		}
	}
}

// reads reads one byte in a goroutine.
func reads(c *Conn) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		done <- err
	}()
	return done
}

// asleep waits until a reader of that connection says that it sleeps.
func asleep(t *testing.T, c *Conn) {
	t.Helper()
	until(t, "asleep", func() bool { return c.in.asleep.Load() == 1 })
}

// full writes until there is no room.
func full(t *testing.T, c *Conn) {
	t.Helper()
	if n, err := c.TryWrite([][]byte{make([]byte, Size), {1}}); n != Size || err != nil {
		t.Fatal(n, err)
	}
}

// TestBytesGoBothWaysAndAnEndIsSeen, in pieces of all lengths, read and written in all ways.
func TestBytesGoBothWaysAndAnEndIsSeen(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	a, b := pair(t)
	var all sync.WaitGroup
	for i, way := range [][2]*Conn{{a, b}, {b, a}} {
		from, to := way[0], way[1]
		sent := make(chan [sha256.Size]byte, 1)
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			hash := sha256.New()
			for range 500 {
				p := make([]byte, 1+random.IntN(1<<random.IntN(19)))
				for i := range p {
					p[i] = byte(random.Uint32())
				}
				hash.Write(p)
				at := random.IntN(len(p) + 1)
				for rest := [][]byte{p[:at], p[at:]}; len(rest) > 0; {
					n, err := from.WriteSome(rest)
					if err != nil {
						t.Error(err)
						return
					}
					for len(rest) > 0 && n >= len(rest[0]) {
						n -= len(rest[0])
						rest = rest[1:]
					}
					if n > 0 {
						rest[0] = rest[0][n:]
					}
				}
			}
			sent <- [sha256.Size]byte(hash.Sum(nil))
			if err := from.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, 10+uint64(i)))
			hash := sha256.New()
			for {
				p := make([]byte, 1+random.IntN(1<<random.IntN(18)))
				var n int
				var err error
				switch random.IntN(3) {
				case 0:
					n, err = to.TryRead(p)
				case 1:
					at := random.IntN(len(p) + 1)
					n, err = to.ReadSome([][]byte{p[:at], p[at:]})
				default:
					n, err = to.Read(p)
				}
				hash.Write(p[:n])
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
			if [sha256.Size]byte(hash.Sum(nil)) != <-sent {
				t.Error("other bytes have come than were sent")
			}
		})
	}
	all.Wait()
}

// TestWhoIsAwakeIsNotRungFor: what is there before anybody sleeps costs no system call.
func TestWhoIsAwakeIsNotRungFor(t *testing.T) {
	a, b := pair(t)
	for range 1000 {
		if n, err := a.Write([]byte("hello")); n != 5 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := b.TryRead(make([]byte, 10)); n != 5 || err != nil {
			t.Fatal(n, err)
		}
	}
	_ = b.Bell.SetReadDeadline(time.Now().Add(-time.Second))
	if n, err := b.Bell.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bells, %v", n, err)
	}
}

// TestWhoSleepsIsRungForOnce, however much comes then.
func TestWhoSleepsIsRungForOnce(t *testing.T) {
	a, b := pair(t)
	for range 100 {
		done := reads(b)
		asleep(t, b)
		for range 3 {
			_, _ = a.Write([]byte("x"))
		}
		if err := soon(t, done, "a byte"); err != nil {
			t.Fatal(err)
		}
		if n, err := b.ReadSome([][]byte{make([]byte, 2)}); n != 2 || err != nil {
			t.Fatal(n, err)
		}
	}
	_ = b.Bell.SetReadDeadline(time.Now().Add(-time.Second))
	if n, _ := b.Bell.Read(make([]byte, 1)); n != 0 {
		t.Error("there are bells left")
	}
}

func TestWhoWaitsForRoomGetsIt(t *testing.T) {
	a, b := pair(t)
	full(t, a)
	wrote := make(chan int, 1)
	go func() { n, _ := a.WriteSome([][]byte{make([]byte, 10)}); wrote <- n }()
	until(t, "waiting for room", func() bool { return b.in.wants.Load() == 1 })
	back := reads(a) // who reads there is rung for, and tells the writer
	asleep(t, a)
	if n, err := b.TryRead(make([]byte, 4)); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	if n := soon(t, wrote, "room"); n != 4 {
		t.Errorf("%d bytes were written, where 4 were read", n)
	}
	_, _ = b.Write([]byte("x"))
	if err := soon(t, back, "a byte the other way"); err != nil {
		t.Error(err)
	}
}

// TestABellTellsOfRoom, although nothing is to be read: else who waits would find out only when it looks again.
func TestABellTellsOfRoom(t *testing.T) {
	a, b := pair(t)
	full(t, a)
	back := reads(a)
	asleep(t, a)
	a.starved.Store(true) // as of one who waits, but here the test sees what it is told
	a.out.wants.Store(1)
	if n, err := b.TryRead(make([]byte, 4)); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	soon(t, a.roomy, "room")
	_ = a.Close()
	<-back
}

// TestWhoWaitsLongForRoomLooksSeldom: for a peer that is stopped, say. It says each time that it waits.
func TestWhoWaitsLongForRoomLooksSeldom(t *testing.T) {
	a, b := pair(t)
	full(t, a)
	wrote := make(chan error, 1)
	go func() { _, err := a.WriteSome([][]byte{{1}}); wrote <- err }()
	looks := 0
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		looks += int(b.in.wants.Swap(0))
	}
	if looks == 0 || looks > 100 {
		t.Errorf("it has looked %d times in half a second", looks)
	}
	_ = a.Close()
	<-wrote
}

func TestDeadlinesEndWhoWaits(t *testing.T) {
	a, _ := pair(t)
	full(t, a)
	reader := reads(a)
	asleep(t, a)
	writer := make(chan error, 1)
	go func() { _, err := a.WriteSome([][]byte{{1}}); writer <- err }()
	if err := a.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	for what, done := range map[string]<-chan error{"who reads": reader, "who writes": writer} {
		if err := soon(t, done, what); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := a.TryRead(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("who looks: %v", err)
	}
	if err := a.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if n, err := a.TryRead(make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("behind it: %d, %v", n, err)
	}
}

func TestCloseEndsWhoWaits(t *testing.T) {
	a, b := pair(t)
	full(t, a)
	reader := reads(a)
	asleep(t, a)
	writer := make(chan error, 1)
	go func() { _, err := a.Write([]byte{1}); writer <- err }()
	until(t, "waiting for room", func() bool { return b.in.wants.Load() == 1 })
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	for what, done := range map[string]<-chan error{"who reads": reader, "who writes": writer} {
		if err := soon(t, done, what); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, f := range map[string]func() error{
		"close":  a.Close,
		"look":   func() error { _, err := a.TryRead(make([]byte, 1)); return err },
		"read":   func() error { _, err := a.Read(make([]byte, 1)); return err },
		"write":  func() error { _, err := a.TryWrite([][]byte{{1}}); return err },
		"waited": func() error { _, err := a.WriteSome([][]byte{{1}}); return err },
	} {
		if err := f(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s of a closed one: %v", what, err)
		}
	}
}

// TestWhatWasWrittenBeforeTheEndIsRead: also if the one who wrote it is gone.
func TestWhatWasWrittenBeforeTheEndIsRead(t *testing.T) {
	a, b := pair(t)
	want := bytes.Repeat([]byte("0123456789"), 1000)
	if _, err := a.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
	if n, err := b.Write(want); n != len(want) || err != nil { // the reader has found out, and ends it
		t.Errorf("%d, %v", n, err)
	}
}

// TestAnEndIsOneAlsoIfBellsWereLeft: who closes has not read one that told it of room, as it was awake. The system
// says then that something was lost.
func TestAnEndIsOneAlsoIfBellsWereLeft(t *testing.T) {
	a, b := pair(t)
	a.out.wants.Store(1)
	for _, step := range []func() (int, error){
		func() (int, error) { return a.TryWrite([][]byte{{1}}) },
		func() (int, error) { return b.TryRead(make([]byte, 1)) }, // it rings
		func() (int, error) { return a.TryWrite([][]byte{{2}}) },
		func() (int, error) { return 1, a.Close() },
		func() (int, error) { return b.Read(make([]byte, 2)) },
	} {
		if n, err := step(); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if n, err := b.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("%d, %v", n, err)
	}
}

// TestMemoryIsThereForAsLongAsItIsUsed: it would be a fault, not an error.
func TestMemoryIsThereForAsLongAsItIsUsed(t *testing.T) {
	for range 50 {
		a, b := pair(t)
		var all sync.WaitGroup
		start := make(chan struct{})
		for _, c := range []*Conn{a, b} {
			all.Go(func() {
				<-start
				for p := make([]byte, 100); ; {
					if _, err := c.TryRead(p); err != nil {
						return
					}
				}
			})
			all.Go(func() {
				<-start
				for p := [][]byte{make([]byte, 100)}; ; {
					if _, err := c.TryWrite(p); err != nil {
						return
					}
				}
			})
			all.Go(func() {
				<-start
				_ = c.Close()
			})
		}
		close(start)
		all.Wait()
	}
}

func TestWhatIsNoBellEndsIt(t *testing.T) {
	a, b := pair(t)
	done := reads(b)
	if _, err := a.Bell.Write([]byte{bell, bell, 'x', bell}); err != nil {
		t.Fatal(err)
	}
	if err := soon(t, done, "the end"); !errors.Is(err, ErrPeer) {
		t.Error(err)
	}
}

func TestOnlyMemoryThatStaysIsMapped(t *testing.T) {
	file := func(size int64, seals int) *os.File {
		fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err == nil {
			err = unix.Ftruncate(fd, size)
		}
		if err == nil {
			_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		}
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fd), "test")
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]*os.File{
		"that may become shorter": file(length, unix.F_SEAL_GROW),
		"that is too short":       file(length-1, seals),
		"that is too long":        file(length+1, seals),
		"that is none":            null,
	} {
		if _, err := Map(f); !errors.Is(err, ErrPeer) {
			t.Errorf("memory %s: %v", name, err)
		}
	}
	m, err := Map(file(length, seals))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
