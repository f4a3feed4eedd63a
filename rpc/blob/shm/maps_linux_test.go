package shm

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
)

// rogue is a peer that keeps what it gets: the descriptor of a segment, and a map of all of it.
type rogue struct {
	*socket
	fd   int
	maps []byte
	ref  uint64
}

// newRogue opens a blob as a peer does, and keeps its segment.
func newRogue(t *testing.T, h *Host, theirs blob.Handle, mode blob.Mode) *rogue {
	t.Helper()
	_, f, err := h.Pair("rogue")
	if err != nil {
		t.Fatal(err)
	}
	c, err := fileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	r := &rogue{socket: newSocket(c), fd: -1}
	t.Cleanup(func() { _ = r.Close() })
	r.ask(t, &message{op: opHello})
	a, fd := r.ask(t, &message{op: opAcquire, handle: theirs, mode: mode})
	if r.fd, r.ref = fd, a.ref; fd < 0 {
		t.Fatalf("it got no descriptor: %+v", a)
	}
	prot := unix.PROT_READ
	if mode == blob.InOut {
		prot |= unix.PROT_WRITE
	}
	if r.maps, err = unix.Mmap(fd, 0, int(a.segmentBytes), prot, unix.MAP_SHARED); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(unix.Munmap(r.maps), unix.Close(fd)) })
	return r
}

func (r *rogue) ask(t *testing.T, m *message) (message, int) {
	t.Helper()
	if err := r.send(m, nil, soon); err != nil {
		t.Fatal(err)
	}
	for {
		a, fd, err := r.receive(true)
		if err == nil {
			err = a.err()
		}
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		if a.op == opAnswer {
			return a, fd
		}
		closeFile(fd)
	}
}

// TestWhoMayWriteChangesNoSegment but for its bytes: it gets no shorter, no longer, and cannot be kept from others.
func TestWhoMayWriteChangesNoSegment(t *testing.T) {
	h := newHost(t, Options{})
	_, shared := sharedBlob(t, connect(t, h, "owner"), 100_000)
	for _, mode := range []blob.Mode{blob.In, blob.InOut} {
		r := newRogue(t, h, shared, mode)
		size := int64(len(r.maps))
		seal := func(s int) error {
			_, err := unix.FcntlInt(uintptr(r.fd), unix.F_ADD_SEALS, s)
			return err
		}
		for what, err := range map[string]error{
			"shorter":               unix.Ftruncate(r.fd, 0),
			"longer":                unix.Ftruncate(r.fd, 2*size),
			"longer by a page":      unix.Fallocate(r.fd, 0, size, blob.Page),
			"shorter in its middle": unix.Fallocate(r.fd, unix.FALLOC_FL_COLLAPSE_RANGE, 0, blob.Page),
			"longer in its middle":  unix.Fallocate(r.fd, unix.FALLOC_FL_INSERT_RANGE, 0, blob.Page),
			"not to be written":     seal(unix.F_SEAL_WRITE),
			"not to be mapped":      seal(unix.F_SEAL_FUTURE_WRITE),
			"sealed again":          seal(unix.F_SEAL_SHRINK),
			"a program":             unix.Fchmod(r.fd, 0o700),
		} {
			if err == nil {
				t.Errorf("%v: it could be made %s", mode, what)
			}
		}
		if mode == blob.In {
			for what, err := range map[string]error{
				"punch a hole":  unix.Fallocate(r.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, size),
				"remove pages":  unix.Madvise(r.maps, unix.MADV_REMOVE),
				"fill it":       unix.Fallocate(r.fd, 0, 0, size),
				"write to it":   func() error { _, err := unix.Pwrite(r.fd, []byte{1}, 0); return err }(),
				"open its maps": unix.Mprotect(r.maps, unix.PROT_READ|unix.PROT_WRITE),
			} {
				if err == nil {
					t.Errorf("who may only read could %s", what)
				}
			}
		}
		r.ask(t, &message{op: opRelease, ref: r.ref})
	}
}

// TestHolesAreFilledWithZeros: one who may write a segment removes its pages, and writes to them, all the time. The
// host copies snapshots there and back, a callee reads and writes, somebody far away reads: none of them dies of it,
// and another owner's bytes are as they were.
func TestHolesAreFilledWithZeros(t *testing.T) {
	h := newHost(t, Options{})
	owner, callee, other := connect(t, h, "owner"), connect(t, h, "callee"), connect(t, h, "other")
	b, shared := sharedBlob(t, owner, 64<<10)
	theirs, _ := sharedBlob(t, other, 64<<10)
	fillWith(theirs.Bytes(), 0xAA)
	far, err := h.Join("far")
	if err != nil {
		t.Fatal(err)
	}
	r := newRogue(t, h, shared, blob.InOut)
	r.ask(t, &message{op: opRelease, ref: r.ref}) // it has what it wants
	stop := make(chan struct{})
	var digs sync.WaitGroup
	holes := 0
	digs.Go(func() {
		for ; ; holes++ {
			select {
			case <-stop:
				return
			default:
			}
			fillWith(r.maps[:64<<10], byte(holes))
			if err := unix.Ftruncate(r.fd, 0); !errors.Is(err, unix.EPERM) { // else all who touch it die of SIGBUS
				t.Errorf("made shorter: %v", err)
			}
			if err := unix.Fallocate(r.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, int64(len(r.maps))); err != nil {
				t.Errorf("punch: %v", err)
				return
			}
			if err := unix.Madvise(r.maps, unix.MADV_REMOVE); err != nil {
				t.Errorf("remove: %v", err)
				return
			}
		}
	})
	for seq := range uint64(200) {
		call := blob.Call{Seq: seq + 1}
		args, err := h.Begin(call, callee.Party(), []blob.Arg{{Handle: shared, Mode: blob.InOut, Snapshot: true}})
		if err != nil {
			t.Fatal(err)
		}
		v, err := callee.Argument(call, args[0])
		if err != nil {
			t.Fatal(err)
		}
		fillWith(v.Bytes(), byte(seq))
		if err := v.Close(); err != nil {
			t.Error(err)
		}
		if _, err := h.End(call, blob.Failed, nil); err != nil {
			t.Error(err)
		}
		borrowed, err := far.Borrow(shared, blob.In)
		if err != nil {
			t.Fatal(err)
		}
		read := bytes.Clone(borrowed.Bytes)
		if n, err := unix.Pread(int(borrowed.File.Fd()), read, borrowed.Offset); err != nil || n != len(read) {
			t.Errorf("%d bytes are read, %v", n, err)
		}
		borrowed.Release()
		_ = bytes.Clone(b.Bytes())
	}
	close(stop)
	if digs.Wait(); holes == 0 {
		t.Error("there were no holes")
	}
	if !bytes.Equal(theirs.Bytes(), bytes.Repeat([]byte{0xAA}, 64<<10)) {
		t.Error("another owner's blob is not as it was")
	}
	far.Leave()
	if err := errors.Join(b.Free(), theirs.Free()); err != nil {
		t.Error(err)
	}
	if s := h.Snapshot(); s.Blobs != 0 || s.Calls != 0 {
		t.Errorf("left: %+v", s)
	}
}

// TestAMapThatIsKeptShowsNobodyElse: who keeps a map when the blob is freed, and when its owner has gone, never sees a
// byte of another owner by it, and changes none.
func TestAMapThatIsKeptShowsNobodyElse(t *testing.T) {
	h := newHost(t, Options{})
	owner := connect(t, h, "owner")
	b, shared := sharedBlob(t, owner, 64<<10)
	fillWith(b.Bytes(), 0x11)
	reader, writer := newRogue(t, h, shared, blob.In), (*rogue)(nil)
	reader.ask(t, &message{op: opRelease, ref: reader.ref})
	writer = newRogue(t, h, shared, blob.InOut)
	writer.ask(t, &message{op: opRelease, ref: writer.ref})
	for _, when := range []string{"the blob is freed", "its owner has gone", "they have gone"} {
		switch when {
		case "the blob is freed":
			if err := b.Free(); err != nil {
				t.Fatal(err)
			}
		case "its owner has gone":
			if err := owner.Close(); err != nil {
				t.Fatal(err)
			}
			within(t, soon, "the host knows it", func() bool { return h.Snapshot().Parties == 2 })
		default:
			_, _ = reader.Close(), writer.Close()
			within(t, soon, "the host knows it", func() bool { return h.Snapshot().Parties == 0 })
		}
		other := connect(t, h, "other, when "+when)
		var theirs []*Blob
		for i := range 40 { // of all sizes: wherever there is memory
			for _, lend := range []blob.Rights{blob.Read, blob.Read | blob.Write} {
				o, err := other.Allocate(uint64(1)<<(i%20), lend)
				if err != nil {
					t.Fatal(err)
				}
				if bytes.Count(o.Bytes(), []byte{0}) != len(o.Bytes()) {
					t.Errorf("when %s, another owner's new blob has something of somebody", when)
				}
				fillWith(o.Bytes(), 0xAA)
				theirs = append(theirs, o)
			}
		}
		for who, r := range map[string]*rogue{"reader": reader, "writer": writer} {
			if bytes.IndexByte(r.maps, 0xAA) >= 0 {
				t.Errorf("when %s, the %s sees another owner's bytes", when, who)
			}
		}
		fillWith(writer.maps, 0x55)
		for _, o := range theirs {
			if !bytes.Equal(o.Bytes(), bytes.Repeat([]byte{0xAA}, len(o.Bytes()))) {
				t.Fatalf("when %s, another owner's blob is changed", when)
			}
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
		within(t, soon, "another has gone", func() bool { return h.Snapshot().Blobs == 0 })
	}
}

// TestWhatAPeerSendsWithItsRequestsIsClosed: descriptors that a host does not take, as many as one message may have.
func TestWhatAPeerSendsWithItsRequestsIsClosed(t *testing.T) {
	h := newHost(t, Options{})
	c := rawPeer(t, listen(t, h))
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = read.Close() }()
	rights := make([]int, 253)
	for i := range rights {
		rights[i] = int(write.Fd())
	}
	send := func(m message, with ...int) {
		t.Helper()
		if _, _, err := c.WriteMsgUnix(m.append(nil), unix.UnixRights(with...), nil); err != nil {
			t.Fatal(err)
		}
		if _, _, _, _, err := c.ReadMsgUnix(make([]byte, 1000), nil); err != nil {
			t.Fatal(err)
		}
	}
	send(message{op: opHello}, rights...)
	for range 10 {
		send(message{op: opSlice}, rights...)
		send(message{op: opSlice}, rights[:1]...)
	}
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	// If the host has one of them, the pipe has not ended.
	_ = read.SetReadDeadline(time.Now().Add(soon))
	if n, err := read.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("%d bytes, %v", n, err)
	}
}
