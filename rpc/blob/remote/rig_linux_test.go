package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is how long a test waits for what must happen. It is never waited for when all is
// well.
const soon = time.Minute

// rig is a server of calls whose port takes bulk connections, too, and its host of blobs.
type rig struct {
	host   *shm.Host
	server *Server
	conns  *conn.Server
	addr   string
	clock  *clock
}

// clock is one that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Duration
}

func (c *clock) read() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += d
}

const token = "open sesame"

// nobody is the handler of calls, of which there are none.
type nobody struct{}

func (nobody) Message(conn.Peer, *conn.In)       {}
func (nobody) Closed(conn.Peer, error, []uint64) {}

type setting struct {
	shm    shm.Options
	server ServerOptions
	conns  conn.ServerOptions
	wrap   func(net.Listener) net.Listener
}

// serve starts a server; when the test is over, it must have left nothing.
func serve(t testing.TB, change ...func(*setting)) *rig {
	t.Helper()
	r := &rig{clock: &clock{}}
	o := setting{
		shm:    shm.Options{Idle: time.Millisecond, Logger: slog.New(slog.DiscardHandler)},
		server: ServerOptions{now: r.clock.read},
		wrap:   func(l net.Listener) net.Listener { return l },
	}
	o.conns.Handler = nobody{}
	o.conns.Admit = func(h *frame.Hello) frame.HelloAck {
		if string(h.Token) != token {
			return frame.HelloAck{Version: frame.MaxVersion, Reason: frame.ReasonUnauthorised, Text: []byte("who is that?")}
		}
		return frame.Answer(h, frame.HelloAck{Features: frame.FeatureBulk | frame.FeatureBulkCopy})
	}
	for _, c := range change {
		c(&o)
	}
	r.host = shm.NewHost(o.shm)
	r.server = NewServer(r.host, o.server)
	o.conns.Bulk = r.server.Serve
	var err error
	if r.conns, err = conn.NewServer(o.conns); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- r.conns.Serve(o.wrap(l)) }()
	t.Cleanup(func() {
		if err := errors.Join(r.conns.Close(), r.server.Close(), r.host.Close()); err != nil {
			t.Error(err)
		}
		<-served
	})
	return r
}

func (r *rig) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", r.addr)
	if err == nil {
		conn.Tune(nc)
	}
	return nc, err
}

// client dials; what it has is over when the test is.
func (r *rig) client(t testing.TB, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{Dial: r.dial, Token: []byte(token), Name: "far"}
	for _, c := range change {
		c(&o)
	}
	c, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// peer is a process of the server's machine, as far as the host knows.
func (r *rig) peer(t testing.TB, name string) *shm.Peer {
	t.Helper()
	p, err := r.host.Connect(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// noise is n bytes that nobody would guess.
func noise(t testing.TB, n int) []byte {
	t.Helper()
	seed := [32]byte{}
	for i := range 8 {
		seed[i] = byte(rand.Uint32())
	}
	t.Logf("seed %x", seed[:8])
	b := make([]byte, n)
	_, _ = io.ReadFull(rand.NewChaCha8(seed), b)
	return b
}

func put(t testing.TB, c *Client, b []byte) *Blob {
	t.Helper()
	have, err := c.Put(t.Context(), b, blob.Read|blob.Write)
	if err != nil {
		t.Fatal(err)
	}
	return have
}

func share(t testing.TB, b *Blob, rights blob.Rights) blob.Handle {
	t.Helper()
	h, err := b.Share(t.Context(), 0, b.Size(), rights)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// wantBytes gets a handle's bytes, and wants them to be these.
func wantBytes(t testing.TB, c *Client, h blob.Handle, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if err := c.Get(t.Context(), h, 0, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%v: bytes differ", h)
	}
}

// within waits until something is so.
func within(t testing.TB, what string, so func() bool) {
	t.Helper()
	begin := time.Now()
	for !so() {
		if time.Since(begin) > soon {
			t.Fatalf("after %v: not %s", soon, what)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// atRest wants that nobody has anything at the host, and no memory is used.
func (r *rig) atRest(t testing.TB) {
	t.Helper()
	within(t, "at rest", func() bool {
		s := r.host.Snapshot()
		return s.Blobs == 0 && s.Segments == 0 && s.Bytes == 0
	})
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error is %v, want %v", what, err, want)
	}
}
