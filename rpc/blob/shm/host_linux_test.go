package shm

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
)

// TestTheBlogsProgram allocates a blob, has another process write to it, reads it, and
// frees it; then the memory is back (S2.19).
func TestTheBlogsProgram(t *testing.T) {
	h := newHost(t, Options{Idle: time.Millisecond})
	caller, callee := connect(t, h, "caller"), connect(t, h, "callee")
	buffer, shared := sharedBlob(t, caller, 64)
	if n := len(buffer.Bytes()); n != 64 {
		t.Errorf("size is %d", n)
	}
	call := blob.Call{Seq: 1}
	args, err := h.Begin(call, callee.Party(), []blob.Arg{{Handle: shared, Mode: blob.InOut}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := callee.Argument(call, args[0])
	if err != nil {
		t.Fatal(err)
	}
	n := copy(v.Bytes(), fmt.Sprintf("The answer is %d", 42))
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if _, err := h.End(call, blob.Succeeded, nil); err != nil {
		t.Error(err)
	}
	if got := string(buffer.Bytes()[:n]); got != "The answer is 42" {
		t.Errorf("buffer has %q", got)
	}
	if err := buffer.Free(); err != nil {
		t.Error(err)
	}
	within(t, soon, "the memory is back", atRest(h))
	for _, p := range []*Peer{caller, callee} { // told with the next answer
		if _, err := p.Slice(shared, 0, 0, blob.Read); !errors.Is(err, blob.ErrGone) {
			t.Error(err)
		}
	}
	if b := has(t); b.memfds != 0 || b.maps != 0 {
		t.Errorf("left: %+v", b)
	}
}

// TestAResultBelongsToWhoAskedForIt: made by the callee, hidden until the call succeeds.
func TestAResultBelongsToWhoAskedForIt(t *testing.T) {
	h := newHost(t, Options{})
	caller, callee := connect(t, h, "caller"), connect(t, h, "callee")
	call := blob.Call{Seq: 1}
	args, err := h.Begin(call, callee.Party(), []blob.Arg{{Handle: caller.Account(), Mode: blob.Out, Size: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := caller.Adopt(args[0].Handle); !errors.Is(err, blob.ErrGone) {
		t.Errorf("seen too early: %v", err)
	}
	v, err := callee.Argument(call, args[0])
	if err != nil {
		t.Fatal(err)
	}
	copy(v.Bytes(), "result")
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	e, err := h.End(call, blob.Succeeded, []uint64{6})
	if err != nil {
		t.Fatal(err)
	}
	b, err := caller.Adopt(e.Results[0])
	if err != nil || string(b.Bytes()) != "result" {
		t.Fatalf("result is %q, %v", b.Bytes(), err)
	}
	args[0].Segment = 0
	if _, err := callee.Argument(call, args[0]); !errors.Is(err, blob.ErrCall) {
		t.Errorf("asked for after the call: %v", err)
	}
	if err := b.Free(); err != nil {
		t.Error(err)
	}
}

// TestSegmentsArePassedOnce: ten thousand blobs go from one process to another in as
// many maps as there are segments, and with no descriptor that stays open (S2.24).
func TestSegmentsArePassedOnce(t *testing.T) {
	h := newHost(t, Options{})
	from, to := connect(t, h, "from"), connect(t, h, "to")
	for range 10_000 {
		_, shared := sharedBlob(t, from, 4096)
		if _, err := to.Open(shared, blob.In, 0); err != nil {
			t.Fatal(err)
		}
	}
	s, b := h.Snapshot(), has(t)
	if s.Blobs != 10_000 || s.Segments > 5 {
		t.Errorf("%d blobs in %d segments", s.Blobs, s.Segments)
	}
	// Both peers are in this process, with the host: three maps of each segment.
	if b.memfds != s.Segments || b.maps != 3*s.Segments {
		t.Errorf("%d descriptors and %d maps of %d segments", b.memfds, b.maps, s.Segments)
	}
}

// TestAGigabyteGoesOverByItsPlace: no byte of it is copied; the memory that is in use is
// the two pages that were touched (S2.17).
func TestAGigabyteGoesOverByItsPlace(t *testing.T) {
	h := newHost(t, Options{})
	caller, callee := connect(t, h, "caller"), connect(t, h, "callee")
	b, shared := sharedBlob(t, caller, 1<<30)
	b.Bytes()[0], b.Bytes()[1<<30-1] = 1, 2
	call := blob.Call{Seq: 1}
	args, err := h.Begin(call, callee.Party(), []blob.Arg{{Handle: shared, Mode: blob.In}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := callee.Argument(call, args[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Bytes(); len(got) != 1<<30 || got[0] != 1 || got[1<<30-1] != 2 {
		t.Error("it is not what was sent")
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(h.segments[args[0].Segment].file.Fd()), &st); err != nil || st.Blocks != 2*blob.Page/512 {
		t.Errorf("%d blocks are in use, %v", st.Blocks, err)
	}
}

// TestPagesThatAreSharedStayOpen: of two ranges of one page that are lent for writing,
// one is given back.
func TestPagesThatAreSharedStayOpen(t *testing.T) {
	h := newHost(t, Options{})
	owner, other := connect(t, h, "owner"), connect(t, h, "other")
	b, shared := sharedBlob(t, owner, 10_000)
	var views []*View
	for _, at := range []uint64{0, 2000, 4000} {
		part, err := other.Slice(shared, at, 2000, blob.Read|blob.Write)
		if err != nil {
			t.Fatal(err)
		}
		v, err := other.Open(part, blob.InOut, 0)
		if err != nil {
			t.Fatal(err)
		}
		views = append(views, v)
	}
	for i := range views {
		for _, v := range views[i:] {
			fillWith(v.Bytes(), byte(i+1))
		}
		if err := views[i].Close(); err != nil {
			t.Fatal(err)
		}
		if err := views[i].Close(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
	}
	want := append(append(bytes.Repeat([]byte{1}, 2000), bytes.Repeat([]byte{2}, 2000)...), bytes.Repeat([]byte{3}, 2000)...)
	if !bytes.Equal(b.Bytes()[:6000], want) {
		t.Error("the owner does not see what was written")
	}
	if window := other.windows[windowID{1, true}]; !window.guarded || len(window.held) != 0 {
		t.Errorf("window %v", window.held)
	}
}

func TestWhatAPeerIsRefused(t *testing.T) {
	h := newHost(t, Options{Limits: blob.Limits{PartyBytes: 1 << 20}})
	p, other := connect(t, h, "peer"), connect(t, h, "other")
	b, shared := sharedBlob(t, p, 1000)
	forged := shared
	forged.Length++
	_, err := p.Allocate(2<<20, blob.Read)
	wantErr(t, "more than its quota", err, blob.ErrQuota)
	_, err = p.Allocate(1, blob.Pay)
	wantErr(t, "with odd rights", err, blob.ErrRights)
	_, err = other.Open(forged, blob.In, 0)
	wantErr(t, "open by a forged handle", err, blob.ErrForged)
	_, err = other.Open(b.Handle(), blob.Out, 0)
	wantErr(t, "open as a result", err, blob.ErrRights)
	_, err = other.Open(blob.Handle{}, blob.In, 0)
	wantErr(t, "open nothing", err, blob.ErrDomain)
	_, err = b.Share(0, 1001, blob.Read)
	wantErr(t, "share more than there is", err, blob.ErrRange)
	_, err = p.Argument(blob.Call{Seq: 1}, blob.Arg{Handle: shared})
	wantErr(t, "argument of no call", err, blob.ErrCall)
	_, err = h.Begin(blob.Call{}, 99, nil)
	wantErr(t, "call of nobody", err, blob.ErrParty)
	if _, err := other.Open(shared, blob.InOut, 0); err != nil {
		t.Errorf("all is well after that: %v", err)
	}
	_, err = p.Open(shared, blob.In, 0)
	wantErr(t, "open what another writes", err, blob.ErrBusy)
	if err := b.Free(); err != nil {
		t.Error(err)
	}
	wantErr(t, "free twice", b.Free(), blob.ErrGone)
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func TestALeaseOfItsOwn(t *testing.T) {
	h := newHost(t, Options{})
	owner, other := connect(t, h, "owner"), connect(t, h, "other")
	_, shared := sharedBlob(t, owner, 1000)
	v, err := other.Open(shared, blob.In, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	within(t, soon, "the lease is over", func() bool { return len(h.Snapshot().Holdings) == 1 })
	wantErr(t, "close after that", v.Close(), blob.ErrGone)
}

// TestManyAtOnce: goroutines of several peers, under the race detector.
func TestManyAtOnce(t *testing.T) {
	h := newHost(t, Options{})
	var wg sync.WaitGroup
	for i := range 4 {
		p := connect(t, h, fmt.Sprint("peer ", i))
		for range 2 {
			wg.Go(func() {
				for range 200 {
					b, err := p.Allocate(8192, blob.Read)
					if err != nil {
						t.Error(err)
						return
					}
					fillWith(b.Bytes(), byte(i))
					shared, err := b.Share(0, 8192, blob.Read)
					if err != nil {
						t.Error(err)
					}
					v, err := p.Open(shared, blob.In, 0)
					if err != nil || v.Bytes()[100] != byte(i) {
						t.Error(err)
						return
					}
					if err := errors.Join(v.Close(), b.Free()); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	if n := h.Snapshot().Blobs; n != 0 {
		t.Errorf("%d blobs are left", n)
	}
}

// TestAHostThatIsClosed ends what its peers do, and gives everything back.
func TestAHostThatIsClosed(t *testing.T) {
	h := newHost(t, Options{})
	p := connect(t, h, "peer")
	b, shared := sharedBlob(t, p, 1000)
	if err := errors.Join(h.Close(), h.Close()); err != nil {
		t.Error(err)
	}
	fillWith(b.Bytes(), 1) // it keeps what it has
	_, err := p.Open(shared, blob.In, 0)
	wantErr(t, "open", err, ErrHost)
	_, err = h.Begin(blob.Call{}, p.Party(), nil)
	wantErr(t, "begin", err, ErrClosed)
	_, err = h.End(blob.Call{}, blob.Failed, nil)
	wantErr(t, "end", err, ErrClosed)
	_, err = h.Connect("late")
	wantErr(t, "connect", err, ErrClosed)
	wantErr(t, "copy", h.copy([]blob.Copy{{}}), ErrClosed)
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Error(err)
	}
	_, err = p.Allocate(1, blob.Read)
	wantErr(t, "allocate when closed", err, ErrHost)
}

func TestPartiesAreBounded(t *testing.T) {
	h := newHost(t, Options{Limits: blob.Limits{Parties: 1}})
	path := listen(t, h)
	connect(t, h, "first")
	_, err := h.Connect("second")
	wantErr(t, "connect", err, blob.ErrQuota)
	_, err = Dial(t.Context(), path, "third")
	wantErr(t, "dial", err, blob.ErrQuota)
}

func TestNobodyIsThere(t *testing.T) {
	if _, err := Dial(t.Context(), t.TempDir()+"/none", "peer"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("dial: %v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if _, err := Attach(r); err == nil {
		t.Error("attached to a pipe")
	}
}

// TestHostilePeers: whoever does not keep to the protocol loses the connection, and
// others do not notice.
func TestHostilePeers(t *testing.T) {
	hello := (&message{op: opHello, text: "rogue"}).append(nil)
	secret, err := unix.MemfdCreate("secret", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(secret) }()
	for name, packets := range map[string][][]byte{
		"nothing at all":            {{}},
		"garbage":                   {[]byte("GET / HTTP/1.1\r\n\r\n")},
		"a request before hello":    {(&message{op: opAllocate}).append(nil)},
		"a malformed request":       {hello, hello[:50]},
		"a packet that is too long": {hello, make([]byte, 60_000)},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, Options{})
			c := rawPeer(t, listen(t, h))
			for _, b := range packets {
				if _, _, err := c.WriteMsgUnix(b, unix.UnixRights(secret, secret), nil); err != nil {
					t.Fatal(err)
				}
			}
			buf := make([]byte, 1000)
			_ = c.SetReadDeadline(time.Now().Add(soon))
			for range packets { // an answer for each hello, and then the end
				if n, _, _, _, err := c.ReadMsgUnix(buf, nil); err != nil {
					break
				} else if m, err := parseMessage(buf[:n]); err != nil || m.op != opAnswer {
					t.Errorf("answered %+v, %v", m, err)
				}
			}
			if _, _, _, _, err := c.ReadMsgUnix(buf, nil); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("it is still served: %v", err)
			}
			connect(t, h, "other")
		})
	}
}

func rawPeer(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestSilentPeers: who connects and says nothing is sent away; a process that the server
// has started may take its time.
func TestSilentPeers(t *testing.T) {
	h := newHost(t, Options{})
	h.hello = time.Millisecond
	_, f, err := h.Pair("slow")
	if err != nil {
		t.Fatal(err)
	}
	c := rawPeer(t, listen(t, h))
	_ = c.SetReadDeadline(time.Now().Add(soon))
	if _, _, _, _, err := c.ReadMsgUnix(make([]byte, 10), nil); !errors.Is(err, io.EOF) {
		t.Errorf("it is still waited for: %v", err)
	}
	p, err := Attach(f)
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Close()
}

// TestOddRequests are refused, and the peer may go on.
func TestOddRequests(t *testing.T) {
	h := newHost(t, Options{})
	p := connect(t, h, "peer")
	for _, m := range []message{
		{op: opHello, text: "again"}, {op: opAnswer}, {op: opDrop}, {op: opRelease, ref: 99},
		{op: opLocate, handle: p.Account()}, {op: opAcquire, handle: p.Account(), mode: 77},
	} {
		if _, err := p.do(&m); err == nil || errors.Is(err, ErrHost) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	_, shared := sharedBlob(t, p, 10)
	if a, err := p.do(&message{op: opAcquire, handle: shared, mode: blob.Pin}); err != nil || a.segment != 0 {
		t.Errorf("who pins is told where: %+v, %v", a, err)
	}
}

// TestHostileHosts: a peer believes no descriptor before it has looked at it, and keeps
// none.
func TestHostileHosts(t *testing.T) {
	place := message{op: opAnswer, segment: 1, segmentBytes: 8192, length: 10, flags: flagFile}
	with := func(change func(*message)) message {
		m := place
		change(&m)
		return m
	}
	unsealed := func(t *testing.T) *os.File {
		fd, err := unix.MemfdCreate("unsealed", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "unsealed")
		_ = f.Truncate(8192)
		return f
	}
	sealed := func(t *testing.T) *os.File {
		m, err := newMemory(8192, false)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Munmap(m.bytes)
		return m.file
	}
	socket := func(t *testing.T) *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
		return r
	}
	none := func(*testing.T) *os.File { return nil }
	for name, c := range map[string]struct {
		answer message
		file   func(*testing.T) *os.File
	}{
		"a segment that can be made shorter":  {place, unsealed},
		"a segment that is shorter":           {with(func(m *message) { m.segmentBytes = 1 << 20 }), sealed},
		"no segment":                          {place, socket},
		"a range beyond the segment":          {with(func(m *message) { m.offset = 8190 }), sealed},
		"a range that wraps":                  {with(func(m *message) { m.offset, m.length = 100, ^uint64(0) }), sealed},
		"no descriptor":                       {place, none},
		"a descriptor that was not announced": {with(func(m *message) { m.flags = 0 }), sealed},
		"a place nowhere":                     {with(func(m *message) { m.segment, m.flags = 0, 0 }), none},
		"a segment that it never passed":      {with(func(m *message) { m.flags = 0 }), none},
		"something else than an answer":       {with(func(m *message) { m.op = opFree }), sealed},
	} {
		t.Run(name, func(t *testing.T) {
			before := has(t)
			p, f := fakeHost(t, c.answer, c.file(t))
			_, err := p.Allocate(10, blob.Read)
			wantErr(t, "allocate", err, ErrHost)
			_, err = p.Allocate(10, blob.Read)
			wantErr(t, "allocate again", err, ErrHost)
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			f()
			if after := has(t); after != before {
				t.Errorf("left over: %+v, before it were %+v", after, before)
			}
		})
	}
}

// fakeHost welcomes a peer and gives it one answer. What it returns ends it.
func fakeHost(t *testing.T, answer message, f *os.File) (*Peer, func()) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := fileConn(os.NewFile(uintptr(fds[0]), "host"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := newSocket(c)
		_, _, _ = s.receive(false)
		_ = s.send(&message{op: opAnswer}, nil, soon)
		_, _, _ = s.receive(false)
		_ = s.send(&answer, f, soon)
		_ = f.Close()
		_, _, _ = s.receive(false)
		_ = s.Close()
	}()
	p, err := Attach(os.NewFile(uintptr(fds[1]), "peer"))
	if err != nil {
		t.Fatal(err)
	}
	return p, func() { <-done }
}

// TestAReaderCannotBecomeAWriter: the descriptor that comes with what may only be read
// is good for nothing else, nor can anybody make a segment shorter.
func TestAReaderCannotBecomeAWriter(t *testing.T) {
	m, err := newMemory(8192, false)
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.open(false)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(r.Fd())
	if b, err := unix.Mmap(fd, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		t.Errorf("mapped to be written: %d bytes", len(b))
	}
	if _, err := unix.FcntlInt(m.file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE); err == nil {
		t.Error("a seal could be added")
	}
	if err := m.file.Truncate(4096); !errors.Is(err, unix.EPERM) {
		t.Errorf("made shorter: %v", err)
	}
	if info, err := m.file.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := errors.Join(r.Close(), m.discard()); err != nil {
		t.Error(err)
	}
}

// TestAThiefOfAnotherUser has only lent what it may read, and tries everything to write
// to it.
func TestAThiefOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start a process of another user")
	}
	h := newHost(t, Options{})
	owner := connect(t, h, "owner")
	b, shared := sharedBlob(t, owner, 4096)
	b.Bytes()[0] = 77
	_, f, err := h.Pair("thief")
	if err != nil {
		t.Fatal(err)
	}
	thief := start(t, "thief "+hex.EncodeToString(shared.Append(nil)), f)
	_ = f.Close()
	if line := thief.line(); line != "<nil>" {
		t.Error(line)
	}
}

// TestTheDeathOfAProcessThatIsFoundByItsNumber, as on kernels before 6.5.
func TestTheDeathOfAProcessThatIsFoundByItsNumber(t *testing.T) {
	h := newHost(t, Options{})
	c := rawPeer(t, listen(t, h))
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	if controlErr := raw.Control(func(s uintptr) { fd, err = processByID(int(s)) }); err != nil || controlErr != nil {
		t.Fatal(err, controlErr)
	}
	defer func() { _ = unix.Close(fd) }()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); n != 0 || err != nil {
		t.Errorf("this process is dead: %d, %v", n, err)
	}
	_ = c.Close()
	if f, err := process(c); err == nil {
		t.Errorf("process of a closed connection: %v", f.Name())
	}
}

// TestDiscardGivesMemoryBackThatOthersHaveMapped: by the blocks of the file.
func TestDiscardGivesMemoryBackThatOthersHaveMapped(t *testing.T) {
	m, err := newMemory(1<<20, false)
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.open(false)
	if err != nil {
		t.Fatal(err)
	}
	blocks := func() int64 {
		var st unix.Stat_t
		if err := unix.Fstat(int(r.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks
	}
	fillWith(m.bytes, 1)
	if n := blocks(); n != 2048 {
		t.Errorf("%d blocks are used", n)
	}
	if err := m.discard(); err != nil {
		t.Error(err)
	}
	if n := blocks(); n != 0 {
		t.Errorf("%d blocks are left", n)
	}
	_ = r.Close()
}

// TestWithoutHugePages: this machine has none or some; either way blobs work.
func TestWithoutHugePages(t *testing.T) {
	h := newHost(t, Options{HugePages: true})
	owner, other := connect(t, h, "owner"), connect(t, h, "other")
	b, shared := sharedBlob(t, owner, 10_000)
	v, err := other.Open(shared, blob.InOut, 0)
	if err != nil {
		t.Fatal(err)
	}
	fillWith(v.Bytes(), 4)
	if b.Bytes()[9_999] != 4 {
		t.Error("the owner does not see what was written")
	}
	t.Logf("%d segments without huge pages", h.plain)
}

// TestThereAreNoDescriptors: what cannot be passed is not there either.
func TestThereAreNoDescriptors(t *testing.T) {
	h := newHost(t, Options{})
	owner, other := connect(t, h, "owner"), connect(t, h, "other")
	b, shared := sharedBlob(t, owner, 1000)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	limit := before
	limit.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	_, openErr := other.Open(shared, blob.In, 0)
	_, allocateErr := other.Allocate(1000, blob.Read)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{openErr, allocateErr} {
		if err == nil || errors.Is(err, ErrHost) || !strings.Contains(err.Error(), "too many open files") {
			t.Errorf("got %v", err)
		}
	}
	if s := h.Snapshot(); len(s.Holdings) != 1 {
		t.Errorf("left: %+v", s.Holdings)
	}
	v, err := other.Open(shared, blob.In, 0)
	if err != nil {
		t.Fatalf("again: %v", err)
	}
	if err := errors.Join(v.Close(), b.Free()); err != nil {
		t.Error(err)
	}
}

// TestAnArgumentThatIsNowhere: a server that is wrong about a place is not believed.
func TestAnArgumentThatIsNowhere(t *testing.T) {
	h := newHost(t, Options{})
	p := connect(t, h, "peer")
	_, shared := sharedBlob(t, p, 1000)
	for _, offset := range []uint64{4 << 20, ^uint64(0) - 10} {
		if v, err := p.Argument(blob.Call{Seq: 1}, blob.Arg{Handle: shared, Segment: 1, Offset: offset}); err == nil {
			t.Errorf("at %d are %d bytes", offset, len(v.Bytes()))
		}
	}
}

func TestThereIsNoMemory(t *testing.T) {
	h := newHost(t, Options{Limits: blob.Limits{Memory: 1 << 62, PartyBytes: 1 << 62}})
	p := connect(t, h, "peer")
	if _, err := p.Allocate(1<<50, blob.Read); err == nil || errors.Is(err, ErrHost) {
		t.Errorf("allocated: %v", err)
	}
	if _, err := p.Allocate(1<<10, blob.Read); err != nil {
		t.Errorf("then less: %v", err)
	}
}

func TestAPeerSaysWhoItIs(t *testing.T) {
	h := newHost(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p, err := Dial(ctx, listen(t, h), "a name that is longer than what is kept of it, which is sixty-four bytes")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if _, err := p.Allocate(10, blob.Read); err != nil {
		t.Fatal(err)
	}
	if name := h.Snapshot().Holdings[0].Holder; len(name) != mostName {
		t.Errorf("it is called %q", name)
	}
	if p.Account().Rights != blob.Pay || p.Account().ID != uint64(p.Party()) {
		t.Errorf("account %v", p.Account())
	}
}
