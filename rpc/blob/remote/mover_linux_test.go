package remote

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
)

// fabric is a network past the connections, in this process.
type fabric struct {
	mu    sync.Mutex
	last  uint64
	lines map[uint64]*fakeLine
}

// fakeMover is one machine's. What it fails at, it fails at as often as it says.
type fakeMover struct {
	fabric  *fabric
	mu      sync.Mutex
	fails   map[string]int
	unready error
	hold    chan struct{} // a pull waits for it after its context has ended, and writes then
	began   chan struct{} // is told when a pull has begun
	lines   int           // that are open
	read    int           // bytes that were pulled
	peeked  [][]byte      // segments that were described or pulled into
}

type faultError string

func (e faultError) Error() string { return "fault on purpose: " + string(e) }

func (m *fakeMover) fault(at string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails[at] == 0 {
		return nil
	}
	m.fails[at]--
	return faultError(at)
}

func (m *fakeMover) Reason(err error) string {
	var f faultError
	if errors.As(err, &f) {
		return string(f)
	}
	return "other"
}

func (m *fakeMover) Ready() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.unready
}

func (m *fakeMover) LetGo([]byte) error { return nil }

func (m *fakeMover) Line() (Line, error) {
	if err := m.fault("line"); err != nil {
		return nil, err
	}
	f := m.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	l := &fakeLine{mover: m, id: f.last, described: map[uint64][]byte{}}
	f.lines[l.id] = l
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines++
	return l, nil
}

type fakeLine struct {
	mover     *fakeMover
	id        uint64
	peer      *fakeLine
	last      uint64
	err       error // the mover's lock
	described map[uint64][]byte
}

func (l *fakeLine) Offer() []byte { return binary.BigEndian.AppendUint64(nil, l.id) }

func (l *fakeLine) Connect(offer []byte) error {
	if err := l.mover.fault("connect"); err != nil {
		return err
	}
	f := l.mover.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(offer) != 8 || f.lines[binary.BigEndian.Uint64(offer)] == nil {
		return faultError("offer")
	}
	l.peer = f.lines[binary.BigEndian.Uint64(offer)]
	return nil
}

func (l *fakeLine) Describe(m Memory) ([]byte, func(), error) {
	if err := l.mover.fault("describe"); err != nil {
		return nil, nil, err
	}
	l.mover.peek(m)
	f := l.mover.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	l.last++
	n := l.last
	l.described[n] = m.Bytes
	return binary.BigEndian.AppendUint64(nil, n), func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(l.described, n)
	}, nil
}

func (m *fakeMover) peek(mem Memory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peeked = append(m.peeked, mem.Segment)
}

// Pull copies under the fabric's lock, so that what is pulled while it is taken back is a
// race that the detector sees.
func (l *fakeLine) Pull(ctx context.Context, m Memory, where []byte) error {
	l.mover.peek(m)
	if l.mover.began != nil {
		l.mover.began <- struct{}{}
	}
	if l.mover.hold != nil {
		select {
		case <-ctx.Done(): // it cannot be stopped: it writes when it likes
			<-l.mover.hold
			for i := range m.Bytes {
				m.Bytes[i] = 0xdd
			}
			return ctx.Err()
		case <-l.mover.hold:
		}
	}
	if err := l.mover.fault("stuck"); err != nil {
		return fmt.Errorf("%w: %w", ErrStuck, err)
	}
	f := l.mover.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	from := l.peer.described[binary.BigEndian.Uint64(where)]
	if err := l.mover.fault("pull"); err != nil {
		copy(m.Bytes, from[:len(from)/2]) // half of it
		return err
	}
	if from == nil || len(from) != len(m.Bytes) {
		return faultError("refused")
	}
	l.mover.read += copy(m.Bytes, from)
	return nil
}

func (l *fakeLine) Err() error {
	l.mover.mu.Lock()
	defer l.mover.mu.Unlock()
	return l.err
}

func (l *fakeLine) Close() error {
	f := l.mover.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(l.described)
	delete(f.lines, l.id)
	l.mover.mu.Lock()
	defer l.mover.mu.Unlock()
	l.mover.lines--
	return nil
}

// moving starts a server and a client that have movers to each other.
func moving(t *testing.T, mode MoverMode) (r *rig, c *Client, server, client *fakeMover) {
	t.Helper()
	f := &fabric{lines: map[uint64]*fakeLine{}}
	server = &fakeMover{fabric: f, fails: map[string]int{}}
	client = &fakeMover{fabric: f, fails: map[string]int{}}
	t.Cleanup(func() {
		if server.lines != 0 || client.lines != 0 {
			t.Errorf("%d and %d lines are left open", server.lines, client.lines)
		}
	})
	r = serve(t, func(s *setting) { s.server.Mover = server })
	c = r.client(t, func(o *Options) { o.Mover, o.Mode, o.now = client, mode, r.clock.read })
	return r, c, server, client
}

// TestS2_18_BytesGoPastTheConnection both ways, if both sides can; what is short does not.
func TestS2_18_BytesGoPastTheConnection(t *testing.T) {
	r, c, server, client := moving(t, Required)
	var sent counter
	other := r.client(t, func(o *Options) { o.Mover, o.Mode, o.Dial = client, Required, sent.around(r.dial) })
	b := noise(t, 1<<20)
	have := put(t, other, b)
	wantBytes(t, c, share(t, have, blob.Read), b)
	if _, err := have.WriteAt(b[:100_000], 500); err != nil {
		t.Error(err)
	}
	copy(b[500:], append([]byte(nil), b[:100_000]...))
	wantBytes(t, other, have.Handle(), b)
	wantBytes(t, c, put(t, c, b[:100]).Handle(), b[:100])
	if server.read != len(b)+100_000 || client.read != 2*len(b) {
		t.Errorf("the server has pulled %d bytes, the clients %d", server.read, client.read)
	}
	if n := sent.sent.Load(); n > 8192 {
		t.Errorf("%d bytes went by TCP", n)
	}
	if m := other.Moved(); m.Mover != 3 || m.Conn != 0 || len(m.Why) != 0 {
		t.Errorf("it counts %+v", m)
	}
	if m := c.Moved(); m.Mover != 1 || m.Conn != 2 || m.Why[ReasonSmall] != 2 {
		t.Errorf("the other counts %+v", m)
	}
	within(t, "the server counts the same", func() bool {
		m := r.server.Moved()
		return m.Mover == 4 && m.Conn == 2
	})
	for _, s := range server.peeked {
		if len(s) < 1<<20 {
			t.Errorf("the server's mover sees a segment of %d bytes", len(s))
		}
	}
	_, err := c.PutFrom(t.Context(), bytes.NewBuffer(b), uint64(len(b)), blob.Read)
	var no *MoverError
	if !errors.As(err, &no) || no.Reason != ReasonStream {
		t.Errorf("a stream that has to go past the connection: %v", err)
	}
}

// TestAMoverThatFailsIsReplacedByTheConnection if it may be, and the reason is counted;
// else it is the error.
func TestAMoverThatFailsIsReplacedByTheConnection(t *testing.T) {
	b := noise(t, 1<<20)
	for _, f := range []struct {
		side, at, put, get string // the reasons
	}{
		{"client", "line", "line", "line"}, {"client", "connect", "connect", "connect"}, {"client", "describe", "describe", ""},
		{"client", "pull", "", "pull"}, {"server", "line", ReasonPeer, ReasonPeer}, {"server", "connect", ReasonPeer, ReasonPeer},
		{"server", "describe", "", ReasonPeer}, {"server", "pull", ReasonPeer, ""}, {"server", "none", ReasonPeer, ReasonPeer},
	} {
		for _, mode := range []MoverMode{Auto, Required} {
			for what, reason := range map[string]string{"put": f.put, "get": f.get} {
				t.Run(fmt.Sprintf("%s at the %s, %s, mode %d", f.at, f.side, what, mode), func(t *testing.T) {
					r, c, server, client := moving(t, mode)
					theirs, err := r.client(t).Put(t.Context(), b, blob.Read|blob.Write)
					if err != nil {
						t.Fatal(err)
					}
					h := share(t, theirs, blob.Read)
					if f.at == "none" {
						r.server.opts.Mover = nil
					}
					map[string]*fakeMover{"client": client, "server": server}[f.side].fails[f.at] = 1
					if what == "put" {
						var have *Blob
						if have, err = c.Put(t.Context(), b, blob.Read); err == nil {
							wantPlain(t, r, have, b)
						}
					} else {
						got := make([]byte, len(b))
						if err = c.Get(t.Context(), h, 0, got); err == nil && !bytes.Equal(got, b) {
							t.Error("bytes differ")
						}
					}
					m := c.Moved()
					var no *MoverError
					switch {
					case reason == "" && (err != nil || m.Mover == 0):
						t.Errorf("%+v, %v", m, err)
					case reason != "" && m.Why[reason] != 1:
						t.Errorf("it counts %+v, want reason %q; error %v", m, reason, err)
					case reason != "" && mode == Required && (!errors.As(err, &no) || no.Reason != reason):
						t.Errorf("error is %v, want reason %q", err, reason)
					case reason != "" && mode == Auto && (err != nil || m.Conn != 1):
						t.Errorf("it counts %+v, error %v", m, err)
					}
				})
			}
		}
	}
}

// wantPlain reads a blob past all clients.
func wantPlain(t *testing.T, r *rig, b *Blob, want []byte) {
	t.Helper()
	v, err := r.peer(t, "reader").Open(share(t, b, blob.Read), blob.In, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(v.Bytes(), want) {
		t.Error("bytes differ")
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}

// TestAMoverThatHasFailedIsLeftAloneForAWhile, and then tried again.
func TestAMoverThatHasFailedIsLeftAloneForAWhile(t *testing.T) {
	r, c, _, client := moving(t, Auto)
	client.fails["describe"] = 1
	b := noise(t, 100_000)
	put(t, c, b)
	put(t, c, b)
	if m := c.Moved(); m.Why["describe"] != 1 || m.Why[ReasonWaiting] != 1 || m.Conn != 2 {
		t.Errorf("it counts %+v", m)
	}
	r.clock.add(time.Second)
	put(t, c, b)
	if m := c.Moved(); m.Mover != 1 {
		t.Errorf("it counts %+v", m)
	}
}

// TestMemoryIsKeptWhileADeviceMayWriteIt although the client is gone, its lease is over and
// others need the memory.
func TestMemoryIsKeptWhileADeviceMayWriteIt(t *testing.T) {
	r, c, server, _ := moving(t, Required)
	server.hold, server.began = make(chan struct{}), make(chan struct{})
	b := noise(t, 1<<20)
	failed := make(chan error)
	go func() {
		_, err := c.Put(t.Context(), b, blob.Read)
		failed <- err
	}()
	<-server.began
	r.clock.add(maxLease)
	r.server.expire() // the pull is told to stop, and does not
	if n := r.server.Parties(); n != 0 {
		t.Errorf("%d parties", n)
	}
	near := r.peer(t, "near")
	mine, err := near.Allocate(1<<20, blob.Read)
	if err != nil {
		t.Fatal(err)
	}
	if s := r.host.Snapshot(); s.Blobs != 2 {
		t.Errorf("%d blobs, while a device may write to one", s.Blobs)
	}
	close(server.hold) // it writes now
	if err := <-failed; err == nil {
		t.Error("a put of a client that is gone succeeds")
	}
	if !bytes.Equal(mine.Bytes(), make([]byte, 1<<20)) {
		t.Error("the device has written to memory of another")
	}
	if err := mine.Free(); err != nil {
		t.Error(err)
	}
	r.atRest(t)
}

// TestMemoryThatADeviceMayWriteForEverIsNeverUsedAgain.
func TestMemoryThatADeviceMayWriteForEverIsNeverUsedAgain(t *testing.T) {
	r, c, server, client := moving(t, Auto)
	server.fails["stuck"], client.fails["stuck"] = 1, 1
	b := noise(t, 1<<20)
	have := put(t, c, b) // by TCP, then
	if m := c.Moved(); m.Conn != 1 || m.Why[ReasonPeer] != 1 {
		t.Errorf("it counts %+v", m)
	}
	if s := r.host.Snapshot(); s.Blobs != 2 {
		t.Errorf("%d blobs, a device may write to one that nobody has", s.Blobs)
	}
	r.clock.add(time.Second)
	wantErr(t, "a get to memory that may be written", have.Read(t.Context(), make([]byte, 1<<20), 0), ErrStuck)
}

// TestAClientThatDiesWhileItPullsFreesWhatItRead, after its line is closed.
func TestAClientThatDiesWhileItPullsFreesWhatItRead(t *testing.T) {
	r, c, server, client := moving(t, Required)
	b := noise(t, 1<<20)
	have, err := r.client(t).Put(t.Context(), b, blob.Read|blob.Write)
	if err != nil {
		t.Fatal(err)
	}
	h := share(t, have, blob.Read)
	client.hold, client.began = make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { failed <- c.Get(ctx, h, 0, make([]byte, 1<<20)) }()
	<-client.began
	wantErr(t, "write what is being pulled", have.Write(t.Context(), b, 0), blob.ErrBusy)
	cancel() // its connection is closed; the pull goes on
	within(t, "the server has closed its line, and lets others write", func() bool {
		server.mu.Lock()
		defer server.mu.Unlock()
		return server.lines == 0
	})
	within(t, "others may write", func() bool { return have.Write(t.Context(), b, 0) == nil })
	close(client.hold)
	wantErr(t, "the pull", <-failed, context.Canceled)
}
