package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long something may take that is expected at once.
const patience = 20 * time.Second

// long is a time that nobody waits for.
const long = time.Hour

// networks are those whose sockets are taken.
var networks = []string{"unix", "tcp"} //nolint:gochecknoglobals // a constant

// pair returns a connection's ends, as the net package has them.
func pair(t *testing.T, network string) (nc, peer net.Conn) {
	t.Helper()
	at := "127.0.0.1:0"
	if network == "unix" {
		at = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if nc, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if peer, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = nc.Close()
		_ = peer.Close()
	})
	return nc, peer
}

// taken is pair, of which the first end is taken.
func taken(t *testing.T, network string) (c *Conn, peer net.Conn) {
	t.Helper()
	nc, peer := pair(t, network)
	c, ok := Take(nc)
	if !ok {
		t.Fatalf("%T was not taken", nc)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, peer
}

func each(t *testing.T, f func(t *testing.T, c *Conn, peer net.Conn)) {
	t.Helper()
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			c, peer := taken(t, network)
			f(t, c, peer)
		})
	}
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

// readsOne reads in a goroutine.
func readsOne(c net.Conn) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		done <- err
	}()
	return done
}

// asleep waits until somebody sleeps in that direction.
func asleep(t *testing.T, c *Conn, s *side) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !armed(t, c, &s.waiter) {
		if time.Now().After(deadline) {
			t.Fatal("nobody sleeps")
		}
		time.Sleep(time.Millisecond) // only the kernel's table tells
	}
}

// armed tells whether the instance would be told of something, from what the kernel says of it.
func armed(t *testing.T, c *Conn, w *waiter) bool {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.file == nil {
		return false
	}
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(w.epoll()))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(info, []byte("tfd:")) && !bytes.Contains(info, []byte("events: 40000000"))
}

// epoll is the instance's descriptor.
func (w *waiter) epoll() (ep int) {
	_ = w.raw.Control(func(fd uintptr) { ep = int(fd) })
	return ep
}

func TestBytesGoBothWaysAndAnEndIsSeen(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn) {
		want := bytes.Repeat([]byte("0123456789abcdef"), 100_000) // more than a socket holds, and than a piece
		for _, way := range []struct {
			name     string
			from, to net.Conn
		}{{"to it", peer, c}, {"from it", c, peer}} {
			sent := make(chan error, 1)
			go func() { _, err := way.from.Write(want); sent <- err }()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(way.to, got); err != nil {
				t.Fatalf("%s: %v", way.name, err)
			}
			if err := soon(t, sent, way.name); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %v, or other bytes", way.name, err)
			}
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if n, err := peer.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Fatalf("after CloseWrite the peer reads %d, %v", n, err)
		}
		_ = peer.Close()
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Fatalf("the peer has closed: %d, %v", n, err)
		}
	})
}

func TestItHasTheAddressesAndTheOptionsOfWhatWasTaken(t *testing.T) {
	for _, network := range networks {
		nc, _ := pair(t, network)
		local, remote := nc.LocalAddr(), nc.RemoteAddr()
		c, ok := Take(nc)
		if !ok || c.LocalAddr() != local || c.RemoteAddr() != remote {
			t.Errorf("%s: %v", network, ok)
		}
		if err := c.SetWriteBuffer(1 << 16); err != nil {
			t.Errorf("%s: %v", network, err)
		}
		if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: what was taken says %v", network, err)
		}
		_ = c.Close()
	}
}

func TestADeadlineEndsASleep(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn) {
		expect := func(what string, err, want error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Fatalf("%s: %v, want %v", what, err, want)
			}
		}
		done := readsOne(c)
		asleep(t, c, &c.rd)
		_ = c.SetReadDeadline(time.Unix(1, 0))
		expect("passed while it slept", soon(t, done, "a deadline"), os.ErrDeadlineExceeded)
		if _, err := peer.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		expect("has passed, and there is something", soon(t, readsOne(c), "a deadline"), os.ErrDeadlineExceeded)
		_ = c.SetReadDeadline(time.Now().Add(long))
		expect("far away, and there is something", soon(t, readsOne(c), "a message"), nil)
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		expect("passes while it sleeps", soon(t, readsOne(c), "a deadline"), os.ErrDeadlineExceeded)
		_ = c.SetReadDeadline(time.Time{})
		done = readsOne(c)
		asleep(t, c, &c.rd)
		_, err := peer.Write([]byte("x"))
		expect("the peer writes", err, nil)
		expect("there is none any more", soon(t, done, "a message"), nil)
	})
}

func TestWhoFindsTheSocketFullSleepsUntilItIsNotOrItsDeadline(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn) {
		piece := make([]byte, 1<<20)
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		total := 0
		for {
			n, err := c.Write(piece)
			total += n
			if err == nil {
				continue
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			break
		}
		_ = c.SetWriteDeadline(time.Time{})
		const rest = 16 << 20 // more than there can be room for
		done := make(chan error, 1)
		go func() { _, err := c.Write(make([]byte, rest)); done <- err }()
		asleep(t, c, &c.wr)
		if _, err := io.CopyN(io.Discard, peer, int64(total+rest)); err != nil {
			t.Fatal(err)
		}
		if err := soon(t, done, "room"); err != nil {
			t.Fatal(err)
		}
		go func() { _, err := c.Write(make([]byte, rest)); done <- err }()
		asleep(t, c, &c.wr)
		_ = c.SetWriteDeadline(time.Unix(1, 0)) // it has an instance by now
		if err := soon(t, done, "a deadline"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	})
}

func TestCloseEndsWhatSleepsAndAllThatComesLater(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, _ net.Conn) {
		reads, writes := readsOne(c), make(chan error, 1)
		go func() {
			for {
				if _, err := c.Write(make([]byte, 1<<20)); err != nil {
					writes <- err
					return
				}
			}
		}()
		asleep(t, c, &c.rd)
		asleep(t, c, &c.wr)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		raw, _ := c.SyscallConn()
		for what, err := range map[string]error{
			"a read":         soon(t, reads, "Close"),
			"a write":        soon(t, writes, "Close"),
			"a later read":   second(c.Read(make([]byte, 1))),
			"a later write":  second(c.Write([]byte("x"))),
			"a deadline":     c.SetDeadline(time.Time{}),
			"a second Close": c.Close(),
			"CloseWrite":     c.CloseWrite(),
			"a raw read":     raw.Read(func(uintptr) bool { return true }),
			"raw control":    raw.Control(func(uintptr) {}),
		} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

func second(_ int, err error) error { return err }

func TestNoDescriptorIsLeft(t *testing.T) {
	count := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	for _, network := range networks {
		nc, peer := pair(t, network)
		before := count()
		c, ok := Take(nc)
		if !ok {
			t.Fatal("not taken")
		}
		if n := count(); n != before+1 {
			t.Errorf("%s: %d descriptors, %d before: one more for who sleeps", network, n, before)
		}
		go func() { _, _ = io.Copy(io.Discard, peer) }()
		if _, err := c.Write(make([]byte, 8<<20)); err != nil { // sleeps, most likely
			t.Fatal(err)
		}
		_ = c.Close()
		_ = peer.Close()
		if n := count(); n > before-2 {
			t.Errorf("%s: %d descriptors after Close, %d before with both ends", network, n, before)
		}
	}
}

func TestWhatIsNoSocketOfTheSystemIsLeftAlone(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	type other struct{ *net.UnixConn }
	nc, _ := pair(t, "unix")
	u, _ := nc.(*net.UnixConn)
	for _, c := range []net.Conn{a, &other{u}} {
		if _, ok := Take(c); ok {
			t.Errorf("%T was taken", c)
		}
	}
	if _, err := u.Write([]byte("x")); err != nil {
		t.Errorf("what was not taken does not work: %v", err)
	}
}

// wrapped has something under it that may be taken.
type wrapped struct{ net.Conn }

func (w wrapped) Underlying() net.Conn { return w.Conn }

func TestWhatIsUnderAWrapperIsTaken(t *testing.T) {
	nc, peer := pair(t, "unix")
	c, ok := Take(wrapped{nc})
	if !ok {
		t.Fatal("not taken")
	}
	defer c.Close()
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestWhereDescriptorsAreScarceItStaysAsItIs(t *testing.T) {
	nc, peer := pair(t, "unix")
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	next := free(t)
	for what, limit := range map[string]uint64{
		"there is none":             next,
		"there is one":              next + 1,
		"there are as many as used": 2 * next,
	} {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: was.Max}); err != nil {
			t.Fatal(err)
		}
		_, ok := Take(nc)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
		if n := free(t); ok || n != next {
			t.Errorf("%s: taken: %v; the next descriptor was %d and is %d", what, ok, next, n)
		}
	}
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Read(make([]byte, 1)); err != nil {
		t.Fatalf("it does not work any more: %v", err)
	}
	c, ok := Take(nc)
	if !ok {
		t.Fatal("not taken when there are enough again")
	}
	_ = c.Close()
}

// TestAFullSocketIsWaitedForWithoutADescriptor: that takes a thread, and ends by all that a sleep ends by.
func TestAFullSocketIsWaitedForWithoutADescriptor(t *testing.T) {
	each(t, func(t *testing.T, c *Conn, peer net.Conn) {
		var was unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: was.Max}); err != nil {
			t.Fatal(err)
		}
		defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
		const much = 16 << 20
		write := func() <-chan error {
			done := make(chan error, 1)
			go func() { _, err := c.Write(make([]byte, much)); done <- err }()
			return done
		}
		done := write()
		if _, err := io.CopyN(io.Discard, peer, much); err != nil {
			t.Fatal(err)
		}
		if err := soon(t, done, "room"); err != nil {
			t.Fatal(err)
		}
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		if err := soon(t, write(), "a deadline"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		_ = c.SetWriteDeadline(time.Time{})
		done = write()
		_ = c.Close()
		if err := soon(t, done, "Close"); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
	})
}

// free is the lowest descriptor that is free: from there on the limit has none.
func free(t *testing.T) uint64 {
	t.Helper()
	fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	return uint64(fd)
}

// Many read, write and close at the same time: nobody uses the descriptor of another.
func TestCloseWhileOthersUseIt(t *testing.T) {
	for range 200 {
		c, peer := taken(t, "unix")
		var all sync.WaitGroup
		all.Go(func() { _, _ = io.Copy(io.Discard, c) })
		all.Go(func() {
			for {
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
			}
		})
		all.Go(func() {
			for c.SetReadDeadline(time.Now().Add(long)) == nil {
			}
		})
		all.Go(func() {
			one := make([]byte, 1)
			_, _ = peer.Write(one)
			_, _ = peer.Read(one)
			_ = c.Close()
		})
		all.Wait()
		_ = peer.Close()
	}
}

// The other end is another goroutine of this process, so that what is compared is the ways to wait.
func BenchmarkRoundTrip(b *testing.B) {
	for _, way := range []string{"runtime", "socket"} {
		b.Run(way, func(b *testing.B) {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				b.Fatal(err)
			}
			var ends [2]net.Conn
			for i, fd := range fds {
				f := os.NewFile(uintptr(fd), "")
				ends[i], err = net.FileConn(f)
				_ = f.Close()
				if err != nil {
					b.Fatal(err)
				}
				if way == "socket" {
					ends[i], _ = Take(ends[i])
				}
				defer ends[i].Close()
			}
			go func() {
				p := make([]byte, 64)
				for {
					n, err := ends[1].Read(p)
					if err != nil {
						return
					}
					_, _ = ends[1].Write(p[:n])
				}
			}()
			p := make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ends[0].Write(p); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(ends[0], p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
