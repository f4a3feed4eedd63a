package shm

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
)

// passedFD is the consumer's end of a socket that descriptors come by.
const passedFD = 5

// consumeMemory maps what comes by passedFD, looks at it, and unmaps it.
func consumeMemory(size uint64, all bool) (uint64, error) {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(passedFD, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return 0, fmt.Errorf("%d messages came with it, %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, err
	}
	b, err := mapFile(fds[0], size, false)
	_ = unix.Close(fds[0])
	if err != nil {
		return 0, err
	}
	sum := look(b, all)
	return sum, unix.Munmap(b)
}

// byTCP makes the control connection of a stage one of TCP.
func byTCP(b *testing.B) *stage {
	b.Helper()
	l, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	near, err := new(net.Dialer).DialContext(b.Context(), "tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	tcp, _ := far.(*net.TCPConn)
	theirs, err := tcp.File()
	if err != nil {
		b.Fatal(err)
	}
	blobs := pairOf(b, NewHost(Options{}))
	startProcess(b, "echo", theirs, blobs)
	_, _, _ = theirs.Close(), far.Close(), blobs.Close()
	b.Cleanup(func() { _ = near.Close() })
	return &stage{b: b, control: near, order: make([]byte, orderLen), answer: make([]byte, 8)}
}

func pairOf(b *testing.B, h *Host) *os.File {
	b.Helper()
	b.Cleanup(func() { _ = h.Close() })
	_, f, err := h.Pair("consumer")
	if err != nil {
		b.Fatal(err)
	}
	return f
}

// byMemory is a stage whose consumer gets descriptors, and our end of the socket that they go by.
func byMemory(b *testing.B) (*stage, int) {
	b.Helper()
	control, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	passed, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	theirs, ours, by := os.NewFile(uintptr(control[1]), "control"), os.NewFile(uintptr(control[0]), "control"), os.NewFile(uintptr(passed[1]), "passed")
	s := &stage{b: b, order: make([]byte, orderLen), answer: make([]byte, 8)}
	if s.control, err = net.FileConn(ours); err != nil {
		b.Fatal(err)
	}
	blobs := pairOf(b, NewHost(Options{}))
	startProcess(b, "echo", theirs, blobs, by)
	_, _, _, _ = theirs.Close(), ours.Close(), blobs.Close(), by.Close()
	b.Cleanup(func() { _, _ = s.control.Close(), unix.Close(passed[0]) })
	return s, passed[0]
}

// BenchmarkHandOverByEveryWay hands bytes that are there to another process, which looks at all of them or at the ends
// only, by every way: by their place in a segment that is known, in a memfd that it gets and maps each time, through a Unix
// socket, and over TCP of the loopback. In the same run: memcpy of as many bytes, and a round trip with nothing; the
// ratios to both are printed. It needs some 5 GiB of memory.
func BenchmarkHandOverByEveryWay(b *testing.B) {
	known, tcp := newTheatre(b), byTCP(b)
	memory, passed := byMemory(b)
	nothing := blob.Arg{Handle: blob.Handle{Rights: blob.Read}, Mode: blob.In}
	for _, n := range []size{64 << 10, 1 << 20, 64 << 20, 256 << 20, 1 << 30} {
		m, err := newMemory(uint64(n), false)
		if err != nil {
			b.Fatal(err)
		}
		fillWith(m.bytes, 1)
		o, shared := known.blob(n)
		arg := blob.Arg{Handle: shared, Mode: blob.In}
		known.call(arg, true) // maps the segment
		rights := unix.UnixRights(int(m.file.Fd()))
		to := make([]byte, n)
		for _, w := range []struct {
			name string
			s    *stage
			hand func(all bool)
		}{
			{"place", known.stage, func(all bool) { known.call(arg, all) }},
			{"memfd", memory, func(all bool) {
				if err := unix.Sendmsg(passed, []byte{0}, rights, nil, 0); err != nil {
					memory.b.Fatal(err)
				}
				memory.hand(orderMemory, all, uint64(n), nothing, nil)
			}},
			{"unix", known.stage, func(all bool) { known.hand(orderBytes, all, uint64(n), nothing, m.bytes) }},
			{"tcp", tcp, func(all bool) { tcp.hand(orderBytes, all, uint64(n), nothing, m.bytes) }},
		} {
			for _, all := range []bool{false, true} {
				looks := map[bool]string{false: "ends", true: "all"}[all]
				b.Run(fmt.Sprintf("%v/%s/looks-at-%s", n, w.name, looks), func(b *testing.B) {
					known.b, tcp.b, memory.b = b, b, b
					w.hand(all) // so that its memory is there
					copy(to, m.bytes)
					var handed, trips, copies time.Duration
					for b.Loop() {
						begin := time.Now()
						w.hand(all)
						handed, begin = handed+time.Since(begin), time.Now()
						w.s.hand(orderNothing, false, 0, nothing, nil)
						trips, begin = trips+time.Since(begin), time.Now()
						copy(to, m.bytes)
						copies += time.Since(begin)
					}
					b.ReportMetric(float64(handed)/float64(b.N), "ns/op")
					b.ReportMetric(float64(handed)/float64(copies), "x-memcpy")
					b.ReportMetric(float64(handed)/float64(trips), "x-round-trip")
				})
			}
		}
		known.b = b
		if err := o.Free(); err != nil {
			b.Fatal(err)
		}
		if err := m.discard(); err != nil {
			b.Fatal(err)
		}
	}
}
