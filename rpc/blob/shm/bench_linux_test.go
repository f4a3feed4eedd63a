package shm

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
)

// A consumer is a process that gets bytes, by a handle or through its control socket
// (a Unix stream), and answers by a word. Of each order, orderLen bytes: what, whether
// to look at all bytes, a length or the number of a call, an argument.
const (
	orderLen = 1 + 1 + 8 + blob.ArgLen

	orderOpen  = 'o'
	orderCall  = 'c'
	orderBytes = 'b'

	orderMemory = 'm' // a descriptor comes by passedFD

	orderNothing = 'n'
)

// echoChild is the consumer.
func echoChild() {
	control, err := net.FileConn(os.NewFile(3, "control"))
	if err != nil {
		panic(err)
	}
	p, err := Attach(os.NewFile(4, "blobs"))
	if err != nil {
		panic(err)
	}
	order, buffer := make([]byte, orderLen), []byte(nil)
	for {
		if _, err := io.ReadFull(control, order); err != nil {
			return
		}
		sum, err := consume(p, control, order, &buffer)
		if err != nil {
			panic(err)
		}
		if _, err := control.Write(le.AppendUint64(nil, sum)); err != nil {
			return
		}
	}
}

func consume(p *Peer, control io.Reader, order []byte, buffer *[]byte) (uint64, error) {
	all, number := order[1] != 0, le.Uint64(order[2:])
	if order[0] == orderBytes {
		if uint64(len(*buffer)) != number {
			*buffer = make([]byte, number)
		}
		_, err := io.ReadFull(control, *buffer)
		return look(*buffer, all), err
	}
	switch order[0] {
	case orderNothing:
		return 0, nil
	case orderMemory:
		return consumeMemory(number, all)
	}
	args, _, err := blob.ParseArgs(order[10:], 1)
	if err != nil {
		return 0, err
	}
	var v *View
	if order[0] == orderOpen {
		v, err = p.Open(args[0].Handle, blob.In, 0)
	} else {
		v, err = p.Argument(blob.Call{Seq: number}, args[0])
	}
	if err != nil {
		return 0, err
	}
	sum := look(v.Bytes(), all)
	return sum, v.Close()
}

// look reads a word of each cache line, or only the ends.
func look(b []byte, all bool) (sum uint64) {
	if !all {
		return uint64(b[0]) + uint64(b[len(b)-1])
	}
	for i := 0; i+8 <= len(b); i += 64 {
		sum += le.Uint64(b[i:])
	}
	return sum
}

// stage is a consumer, and a host in a third process or in this one.
type stage struct {
	b       *testing.B
	control net.Conn
	order   []byte
	answer  []byte
}

func newStage(b *testing.B, blobs *os.File) *stage {
	b.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	theirs, ours := os.NewFile(uintptr(fds[1]), "control"), os.NewFile(uintptr(fds[0]), "control")
	s := &stage{b: b, order: make([]byte, orderLen), answer: make([]byte, 8)}
	if s.control, err = net.FileConn(ours); err != nil {
		b.Fatal(err)
	}
	startProcess(b, "echo", theirs, blobs)
	_, _, _ = theirs.Close(), ours.Close(), blobs.Close()
	b.Cleanup(func() { _ = s.control.Close() })
	return s
}

func startProcess(b *testing.B, what string, files ...*os.File) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	p, err := os.StartProcess(self, []string{self}, &os.ProcAttr{
		Env: append(os.Environ(), childEnv+"="+what), Files: append([]*os.File{os.Stdin, os.Stdout, os.Stderr}, files...),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = p.Kill()
		_, _ = p.Wait()
	})
}

// hand gives the consumer something, and waits until it has it.
func (s *stage) hand(what byte, all bool, number uint64, arg blob.Arg, bytes []byte) {
	s.order = append(s.order[:0], what, 0)
	if all {
		s.order[1] = 1
	}
	s.order = blob.AppendArgs(le.AppendUint64(s.order, number), []blob.Arg{arg})
	_, err := s.control.Write(s.order)
	if err == nil && bytes != nil {
		_, err = s.control.Write(bytes)
	}
	if err == nil {
		_, err = io.ReadFull(s.control, s.answer)
	}
	if err != nil {
		s.b.Fatal(err)
	}
}

// sizes are what is handed over.
func sizes() []size { return []size{4 << 10, 1 << 20, 256 << 20} }

type size uint64

func (s size) String() string {
	if s < 1<<20 {
		return fmt.Sprintf("%dKiB", uint64(s>>10))
	}
	return fmt.Sprintf("%dMiB", uint64(s>>20))
}

// theatre is a host, a caller in this process, and a consumer in another.
type theatre struct {
	*stage
	host     *Host
	caller   *Peer
	consumer blob.PartyID
	seq      uint64
}

func newTheatre(b *testing.B) *theatre {
	b.Helper()
	h := NewHost(Options{})
	b.Cleanup(func() { _ = h.Close() })
	id, f, err := h.Pair("consumer")
	if err != nil {
		b.Fatal(err)
	}
	s := newStage(b, f)
	p, err := h.Connect("caller")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = p.Close() })
	return &theatre{stage: s, host: h, caller: p, consumer: id}
}

// blob makes one, all of which is in memory.
func (t *theatre) blob(n size) (*Blob, blob.Handle) {
	o, err := t.caller.Allocate(uint64(n), blob.Read|blob.Write)
	if err != nil {
		t.b.Fatal(err)
	}
	fillWith(o.Bytes(), 1)
	shared, err := o.Share(0, uint64(n), blob.Read|blob.Write)
	if err != nil {
		t.b.Fatal(err)
	}
	return o, shared
}

// call lends the consumer an argument, and ends the call when that has looked at it.
func (t *theatre) call(arg blob.Arg, all bool) {
	t.seq++
	call := blob.Call{Seq: t.seq}
	args, err := t.host.Begin(call, t.consumer, []blob.Arg{arg})
	if err != nil {
		t.b.Fatal(err)
	}
	t.hand(orderCall, all, t.seq, args[0], nil)
	if _, err := t.host.End(call, blob.Succeeded, nil); err != nil {
		t.b.Fatal(err)
	}
}

// BenchmarkHandOver is a blob that goes to another process as an argument of a call. In
// the same run: a round trip to that process with nothing to hand over, and the same
// bytes through a Unix socket.
func BenchmarkHandOver(b *testing.B) {
	t := newTheatre(b)
	for _, n := range sizes() {
		for name, all := range map[string]bool{"ends": false, "all": true} {
			b.Run(fmt.Sprintf("%v/looks-at-%s", n, name), func(b *testing.B) {
				t.b = b
				o, shared := t.blob(n)
				arg := blob.Arg{Handle: shared, Mode: blob.In}
				t.call(arg, true) // maps the segment
				copied := t.copied(all, o.Bytes())
				var handed, trips time.Duration
				for b.Loop() {
					begin := time.Now()
					t.call(arg, all)
					middle := time.Now()
					t.hand(orderNothing, false, 0, blob.Arg{}, nil)
					handed, trips = handed+middle.Sub(begin), trips+time.Since(middle)
				}
				each := func(d time.Duration) float64 { return float64(d) / float64(b.N) }
				b.ReportMetric(each(handed), "ns/op")
				b.ReportMetric(each(trips), "round-trip-ns")
				b.ReportMetric(float64(copied), "socket-ns")
				b.ReportMetric(float64(copied)/each(handed), "x-socket")
				if err := o.Free(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// copied is how long it takes to send bytes through the control socket.
func (s *stage) copied(all bool, bytes []byte) time.Duration {
	nothing := blob.Arg{Handle: blob.Handle{Rights: blob.Read}, Mode: blob.In}
	s.hand(orderBytes, all, uint64(len(bytes)), nothing, bytes)
	begin, n := time.Now(), 0
	for ; n < 5 || time.Since(begin) < 300*time.Millisecond; n++ {
		s.hand(orderBytes, all, uint64(len(bytes)), nothing, bytes)
	}
	return time.Since(begin) / time.Duration(n)
}

// BenchmarkArgument is a call with one argument that may be changed: without a snapshot
// of it, and with one.
func BenchmarkArgument(b *testing.B) {
	t := newTheatre(b)
	for _, n := range sizes() {
		o, shared := t.blob(n)
		for _, snapshot := range []bool{false, true} {
			b.Run(fmt.Sprintf("%v/snapshot=%v", n, snapshot), func(b *testing.B) {
				t.b = b
				for b.Loop() {
					t.call(blob.Arg{Handle: shared, Mode: blob.InOut, Snapshot: snapshot}, false)
				}
			})
		}
		if err := o.Free(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen is a blob that is opened for longer than a call, and closed.
func BenchmarkOpen(b *testing.B) {
	t := newTheatre(b)
	for _, n := range sizes() {
		o, shared := t.blob(n)
		b.Run(n.String(), func(b *testing.B) {
			t.b = b
			for b.Loop() {
				t.hand(orderOpen, false, 0, blob.Arg{Handle: shared, Mode: blob.In}, nil)
			}
		})
		if err := o.Free(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAllocate is what a blob costs the process that makes it: allocated and freed
// by the host, one request each.
func BenchmarkAllocate(b *testing.B) {
	h := NewHost(Options{})
	defer func() { _ = h.Close() }()
	p, err := h.Connect("owner")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	b.ReportAllocs()
	for b.Loop() {
		o, err := p.Allocate(64<<10, blob.Read)
		if err == nil {
			err = o.Free()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
