package shm

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
)

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
			if after := has(t); after.beyond(before) {
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
