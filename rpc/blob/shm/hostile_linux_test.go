package shm

import (
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
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

// TestFloods: of strangers, of requests whose answers nobody reads, of what has no answer, and of descriptors. Who
// floods loses the connection or is refused; another peer's requests are answered meanwhile, and nothing is left.
func TestFloods(t *testing.T) {
	hello := (&message{op: opHello, text: "flood"}).append(nil)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	descriptors := make([]int, 253) // as many as the kernel lets one send at once
	for i := range descriptors {
		descriptors[i] = int(null.Fd())
	}
	for name, c := range map[string]struct {
		packet []byte // that is sent without end
		rights []byte
		peers  int
		reads  bool
	}{
		"strangers":                       {nil, nil, 5 * mostStrangers, false},
		"requests that nobody reads":      {(&message{op: opAllocate, length: 1 << 20, rights: blob.Read}).append(nil), nil, 4, false},
		"requests for too much":           {(&message{op: opAllocate, length: 1 << 50, rights: blob.Read}).append(nil), nil, 4, true},
		"what has no answer":              {(&message{op: opLetGo}).append(nil), nil, 4, true},
		"segments that were never passed": {(&message{op: opUnmapped, segment: 1}).append(nil), nil, 4, true},
		"bytes that nobody reads":         {(&message{op: opRead, length: mostRead}).append(nil), nil, 4, false},
		"descriptors":                     {(&message{op: opSlice}).append(nil), unix.UnixRights(descriptors...), 4, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, Options{Limits: blob.Limits{Parties: 10}, Logger: slog.New(slog.DiscardHandler)})
			h.read = 20 * time.Millisecond
			path, honest := listen(t, h), connect(t, h, "honest")
			if _, err := honest.Allocate(10_000, blob.Read); err != nil {
				t.Fatal(err)
			}
			before := has(t)
			var all []*net.UnixConn
			for range c.peers {
				all = append(all, rawPeer(t, path))
			}
			stop := make(chan struct{})
			var floods sync.WaitGroup
			for _, p := range all[:min(len(all), 4)] {
				if c.packet == nil {
					break
				}
				if _, err := p.Write(hello); err != nil {
					t.Fatal(err)
				}
				floods.Go(func() { flood(p, c.packet, c.rights, c.reads, stop) })
			}
			for i := range 200 {
				b, err := honest.Allocate(10_000, blob.Read)
				if err != nil {
					t.Fatalf("%d: %v", i, err)
				}
				if err := b.Free(); err != nil {
					t.Fatal(err)
				}
			}
			late := rawPeer(t, path) // gets in, whatever others do
			if _, err := late.Write(hello); err != nil {
				t.Fatal(err)
			}
			_ = late.SetReadDeadline(time.Now().Add(soon))
			if _, _, _, _, err := late.ReadMsgUnix(make([]byte, 1000), nil); err != nil {
				t.Errorf("one that comes late: %v", err)
			}
			if c.packet != nil && !c.reads {
				within(t, soon, "who does not read has lost the connection", func() bool { return h.Snapshot().Parties == 2 })
			}
			if now := has(t); c.packet == nil && now.sockets > before.sockets+c.peers+mostStrangers+10 {
				t.Errorf("%d sockets are open for %d strangers, before it were %d", now.sockets, c.peers, before.sockets)
			}
			close(stop)
			for _, p := range append(all, late) {
				_ = p.Close()
			}
			floods.Wait()
			within(t, soon, "at rest", func() bool { s := h.Snapshot(); return s.Blobs == 1 && s.Parties == 1 })
			within(t, soon, "its descriptors are closed", func() bool { return !has(t).beyond(before) })
		})
	}
}

// flood sends a packet again and again, until its connection ends, or it is stopped.
func flood(c *net.UnixConn, packet, rights []byte, reads bool, stop chan struct{}) {
	go func() {
		for buf := make([]byte, mostRead); reads; {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	}()
	for {
		select {
		case <-stop:
			return
		default:
		}
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		if _, _, err := c.WriteMsgUnix(packet, rights, nil); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, unix.ETOOMANYREFS) {
			return
		}
	}
}

// TestATicketIsGoodOnce: who has one has no more parties by it than one, so no more memory than that may have.
func TestATicketIsGoodOnce(t *testing.T) {
	h := newHost(t, Options{Tickets: true})
	path := listen(t, h)
	ticket, revoke := h.Ticket("client")
	defer revoke()
	p, err := Dial(t.Context(), path, hex.EncodeToString(ticket[:]))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Dial(t.Context(), path, hex.EncodeToString(ticket[:]))
	wantErr(t, "again", err, blob.ErrParty)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	_, err = Dial(t.Context(), path, hex.EncodeToString(ticket[:]))
	wantErr(t, "when it has left", err, blob.ErrParty)
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
