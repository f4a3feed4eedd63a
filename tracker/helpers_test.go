package tracker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/tvm"
)

// patience is how long a test waits for what must happen. It is never waited
// for when all is well.
const patience = time.Minute

func TestMain(m *testing.M) {
	playOtherProcess()
	// Before flags are parsed: what the command line says still counts.
	_ = flag.Set("rapid.checks", "400")
	_ = flag.Set("rapid.steps", "60")
	goleak.VerifyTestMain(m)
}

// fakeClock is a clock that tests move.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// harness is a running tracker.
type harness struct {
	*Server
	t     testing.TB
	addr  string
	clock *fakeClock // nil: the wall clock
	stop  func()     // idempotent; waits
	done  chan struct{}
	err   error // of Serve, once done
}

// start runs a tracker on a free port until the test ends.
func start(t testing.TB, o Options) *harness {
	t.Helper()
	return startAt(t, o, "127.0.0.1:0")
}

// startFake runs a tracker whose time the test moves.
func startFake(t testing.TB, o Options) *harness {
	t.Helper()
	clock := newFakeClock()
	o.Clock = clock
	h := start(t, o)
	h.clock = clock
	return h
}

func startAt(t testing.TB, o Options, addr string) *harness {
	t.Helper()
	l, err := tcp.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, o, l, l.Addr().String())
}

func serve(t testing.TB, o Options, l net.Listener, addr string) *harness {
	t.Helper()
	return serveIt(t, NewServer(o), l, addr)
}

func serveIt(t testing.TB, s *Server, l net.Listener, addr string) *harness {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := &harness{Server: s, t: t, addr: addr, done: make(chan struct{})}
	go func() {
		defer close(h.done)
		h.err = h.Serve(ctx, l)
	}()
	h.stop = func() {
		cancel()
		select {
		case <-h.done:
		case <-time.After(patience):
			t.Error("Serve does not return after its context has ended")
		}
	}
	t.Cleanup(func() {
		h.stop()
		if h.err != nil {
			t.Errorf("Serve: %v", h.err)
		}
	})
	return h
}

// dial opens a connection without a handshake.
func (h *harness) dial() *wire {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	w := &wire{t: h.t, nc: nc}
	h.t.Cleanup(func() { _ = nc.Close() })
	return w
}

// join opens a connection and shakes hands.
func (h *harness) join() *wire {
	h.t.Helper()
	w := h.dial()
	w.write(magicBytes)
	w.wantBytes(magicBytes)
	return w
}

// register joins as a server with an address and one offer.
func (h *harness) register(key, matchKey string) *wire {
	h.t.Helper()
	w := h.join()
	w.ask(fmt.Sprintf(`[5, {"key": "server:%s", "addr": [null, 9090]}]`, key), "0")
	w.ask(fmt.Sprintf(`[3, "%s", [9090, "%s"], null]`, key, matchKey), "0")
	return w
}

// server returns the only server in the summary.
func (h *harness) server() tvm.ServerInfo {
	h.t.Helper()
	s := h.Summary()
	if len(s.Servers) != 1 {
		h.t.Fatalf("summary has %d servers, want 1", len(s.Servers))
	}
	return s.Servers[0]
}

// wantQueue waits until key has so many free and pending.
func (h *harness) wantQueue(key string, free, pending int) {
	h.t.Helper()
	want := fmt.Sprintf("free %d, pending %d", free, pending)
	eventually(h.t, "queue "+key+": "+want, func() string {
		q := h.Summary().Queue[key]
		return fmt.Sprintf("free %d, pending %d", q.Free, q.Pending)
	}, want)
}

func (h *harness) wantConns(n int) {
	h.t.Helper()
	eventually(h.t, "open connections", func() int {
		h.connMu.Lock()
		defer h.connMu.Unlock()
		return len(h.conns)
	}, n)
}

func (h *harness) rejectedFor(r reason) uint64 { return h.rejects[r].Load() }

// eventually polls get until it returns want.
func eventually[T comparable](t testing.TB, what string, get func() T, want T) {
	t.Helper()
	deadline := time.Now().Add(patience)
	got := get()
	for got != want {
		if time.Now().After(deadline) {
			t.Fatalf("%s: got %v, want %v", what, got, want)
		}
		time.Sleep(time.Millisecond)
		got = get()
	}
}

var magicBytes = []byte{0x71, 0xf2, 0x02, 0x00}

// wire is a peer that tests script byte by byte.
type wire struct {
	t  testing.TB
	nc net.Conn
}

func (w *wire) write(b []byte) {
	w.t.Helper()
	if _, err := w.nc.Write(b); err != nil {
		w.t.Fatalf("write: %v", err)
	}
}

// send sends one frame.
func (w *wire) send(payload string) {
	w.t.Helper()
	w.write(tvm.AppendFrame(nil, []byte(payload)))
}

// ask sends a frame and wants its reply.
func (w *wire) ask(payload, want string) {
	w.t.Helper()
	w.send(payload)
	w.want(want)
}

// want reads one frame with this payload, byte for byte.
func (w *wire) want(payload string) {
	w.t.Helper()
	if got := w.frame(); got != payload {
		w.t.Fatalf("got frame %q, want %q", got, payload)
	}
}

// frame reads one frame of any length.
func (w *wire) frame() string {
	w.t.Helper()
	w.deadline()
	var header [4]byte
	if _, err := io.ReadFull(w.nc, header[:]); err != nil {
		w.t.Fatalf("read header: %v", err)
	}
	payload := make([]byte, binary.LittleEndian.Uint32(header[:]))
	if _, err := io.ReadFull(w.nc, payload); err != nil {
		w.t.Fatalf("read payload of %d bytes: %v", len(payload), err)
	}
	return string(payload)
}

func (w *wire) wantBytes(want []byte) {
	w.t.Helper()
	w.deadline()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(w.nc, got); err != nil || !bytes.Equal(got, want) {
		w.t.Fatalf("got % x (%v), want % x", got, err, want)
	}
}

func (w *wire) deadline() { _ = w.nc.SetReadDeadline(time.Now().Add(patience)) }

// wantClosed wants the tracker to close without sending anything.
func (w *wire) wantClosed() {
	w.t.Helper()
	w.deadline()
	got, err := io.ReadAll(w.nc)
	if len(got) > 0 {
		w.t.Fatalf("got % x, want nothing and the end", got)
	}
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		w.t.Fatalf("got %v, want the end of the connection", err)
	}
}

// wantOpen wants the connection to work and nothing else to have been sent.
func (w *wire) wantOpen() {
	w.t.Helper()
	w.ask("[1]", "0")
}

func (w *wire) close() { _ = w.nc.Close() }

// reset closes by RST.
func (w *wire) reset() {
	_ = w.nc.(*net.TCPConn).SetLinger(0)
	w.close()
}

// grant reads a grant.
func (w *wire) grant() tvm.Grant {
	w.t.Helper()
	g, err := tvm.ParseGrant([]byte(w.frame()))
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func (w *wire) wantGrant(matchKey string) {
	w.t.Helper()
	if g := w.grant(); g.MatchKey != matchKey {
		w.t.Fatalf("granted %q, want %q", g.MatchKey, matchKey)
	}
}

func (w *wire) summary() tvm.SummaryReply {
	w.t.Helper()
	w.send("[6]")
	s, err := tvm.ParseSummaryReply([]byte(w.frame()))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func repeat(s string, n int) string { return strings.Repeat(s, n) }

// percentile returns the p-th percentile of times, which it sorts.
func percentile(times []time.Duration, p int) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[min(len(times)-1, len(times)*p/100)]
}

// joinFrom is join from a given local address.
func (h *harness) joinFrom(ip string) *wire {
	h.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	nc, err := d.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = nc.Close() })
	w := &wire{t: h.t, nc: nc}
	w.write(magicBytes)
	w.wantBytes(magicBytes)
	return w
}
