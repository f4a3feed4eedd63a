package tracker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/tvm"
)

func TestConnectionsAboveTheCapAreClosed(t *testing.T) {
	h := start(t, Options{MaxConns: 2})
	first, second := h.join(), h.join()
	h.dial().wantClosed()
	h.dial().wantClosed()
	eventually(t, "refused connections", func() uint64 { return h.rejectedFor(rejectConnLimit) }, 2)
	first.wantOpen()
	second.close()
	h.wantConns(1)
	h.join().wantOpen()
}

// flakyListener fails as often as it has errors, then it accepts.
type flakyListener struct {
	net.Listener
	mu   sync.Mutex
	errs []error
}

func (l *flakyListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

func acceptError(errno syscall.Errno) error {
	return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", errno)}
}

func TestAcceptGoesOnWhenDescriptorsRunOut(t *testing.T) {
	l, err := tcp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log safeBuffer
	flaky := &flakyListener{Listener: l, errs: []error{
		acceptError(syscall.EMFILE), acceptError(syscall.ECONNABORTED), acceptError(syscall.ENFILE), acceptError(syscall.ENOBUFS),
	}}
	h := serve(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, flaky, l.Addr().String())
	h.join().wantOpen()
	if n := strings.Count(log.String(), "cannot accept"); n != 3 {
		t.Errorf("%d lines about accept, want 3:\n%s", n, log.String())
	}
}

func TestStopWhileAcceptIsPausing(t *testing.T) {
	l, err := tcp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	errs := make([]error, 1000)
	for i := range errs {
		errs[i] = acceptError(syscall.EMFILE)
	}
	serve(t, Options{}, &flakyListener{Listener: l, errs: errs}, "").stop()
}

func TestServeFailsWithItsListener(t *testing.T) {
	l, err := tcp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(Options{})
	if err := s.Serve(t.Context(), &flakyListener{Listener: l, errs: []error{syscall.EBADF}}); !errors.Is(err, syscall.EBADF) {
		t.Errorf("Serve: %v, want EBADF", err)
	}
	if err := s.Serve(t.Context(), l); err == nil {
		t.Error("a Server serves twice")
	}
}

// pipeListener gives one connection that is not TCP.
type pipeListener struct {
	once   sync.Once
	conn   net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (nc net.Conn, err error) {
	l.once.Do(func() { nc = l.conn })
	if nc != nil {
		return nc, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{} }

func TestConnectionsThatAreNotTCPAreClosed(t *testing.T) {
	ours, theirs := net.Pipe()
	h := serve(t, Options{}, &pipeListener{conn: theirs, closed: make(chan struct{})}, "")
	if _, err := ours.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is not closed")
	}
	h.stop()
}

func TestGracefulStopClosesEverybody(t *testing.T) {
	h := start(t, Options{})
	waits, silent, half := h.join(), h.dial(), h.join()
	server := h.register("k", "k:1")
	waits.send(`[4, "other", "", 1]`)
	half.write([]byte{100, 0, 0, 0})
	h.wantQueue("other", 0, 1)
	h.wantConns(4)
	h.stop()
	for _, w := range []*wire{waits, silent, half, server} {
		w.wantClosed()
	}
	if n := len(h.registry.servers) + len(h.conns); n != 0 {
		t.Errorf("%d peers are left", n)
	}
}

// fillSocket makes w ask for summaries, which it does not read, until the
// tracker no longer reads what w sends.
func (h *harness) fillSocket(w *wire) {
	h.t.Helper()
	ask := []byte(repeat(string(tvm.AppendFrame(nil, []byte("[6]"))), 1000))
	full := func() bool {
		h.connMu.Lock()
		defer h.connMu.Unlock()
		for c := range h.conns {
			if c.peer.addr == w.nc.LocalAddr().String() {
				c.out.mu.Lock()
				defer c.out.mu.Unlock()
				return c.out.flushed != nil
			}
		}
		return false
	}
	for !full() {
		_ = w.nc.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := w.nc.Write(ask); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			h.t.Fatal(err)
		}
	}
}

func TestGrantToAPeerThatDoesNotReadDelaysNobody(t *testing.T) {
	h := start(t, Options{})
	h.join().ask(`[5, {"key": "server:x", "addr": [null, 1], "note": "`+repeat("x", 60_000)+`"}]`, "0")
	deaf, good := h.join(), h.join()
	deaf.send(`[4, "k", "", 9]`)
	h.wantQueue("k", 0, 1)
	h.fillSocket(deaf)
	good.send(`[4, "k", "", 1]`)
	h.wantQueue("k", 0, 2)
	begin := time.Now()
	putOne(h.join(), "k", "k:1") // deaf's
	putOne(h.join(), "k", "k:2")
	good.wantGrant("k:2")
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	// deaf goes without having read: its ticket was never delivered.
	deaf.close()
	good.send(`[4, "k", "", 1]`)
	good.wantGrant("k:1")
}

func TestPeerThatReadsSlowlyGetsEverything(t *testing.T) {
	const asks = 125
	h := start(t, Options{})
	h.join().ask(`[5, {"key": "server:x", "addr": [null, 1], "note": "`+repeat("x", 60_000)+`"}]`, "0")
	slow := h.join()
	for range asks {
		slow.send("[6]")
	}
	slow.send("[1]")
	for range asks {
		if s, err := tvm.ParseSummaryReply([]byte(slow.frame())); err != nil || len(s.Servers) != 1 {
			t.Fatalf("%d servers, %v", len(s.Servers), err)
		}
	}
	slow.want("0")
	slow.wantOpen()
}

func (h *harness) outboxes() (list []*outbox) {
	h.connMu.Lock()
	defer h.connMu.Unlock()
	for c := range h.conns {
		list = append(list, &c.out)
	}
	return list
}

func TestGrantsThatHaveArrivedAreForgotten(t *testing.T) {
	h := start(t, Options{})
	client, server := h.join(), h.join()
	for i := range 3 * checkGrants {
		mk := fmt.Sprintf("k:%d", i)
		putOne(server, "k", mk)
		client.send(`[4, "k", "", 1]`)
		client.wantGrant(mk)
		client.wantOpen() // its ACK of the grant comes with this at the latest
	}
	for _, box := range h.outboxes() {
		box.mu.Lock()
		if n := len(box.grants); n > checkGrants+1 {
			t.Errorf("%d grants are remembered", n)
		}
		box.mu.Unlock()
	}
}

func TestTooMuchStateClosesItsOwner(t *testing.T) {
	h := start(t, Options{})
	greedy, good := h.join(), h.join()
	key := repeat("k", maxKeyBytes)
	var frames []byte
	for range 1000 {
		frames = tvm.AppendMessage(frames, tvm.Request{Key: key})
	}
	for sent := 0; sent < 2*maxPeerBytes; sent += len(frames) {
		if _, err := greedy.nc.Write(frames); err != nil {
			break
		}
	}
	eventually(t, "counted", func() uint64 { return h.rejectedFor(rejectMemory) }, 1)
	h.wantConns(1)
	good.wantOpen()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.registry.bytes != 0 || h.registry.counts.refused != 1 {
		t.Errorf("%d bytes are still accounted for, %d requests refused", h.registry.bytes, h.registry.counts.refused)
	}
}

func TestTextsThatAreTooLong(t *testing.T) {
	long := repeat("k", maxKeyBytes+1)
	for name, payload := range map[string]string{
		"device key of a request": `[4, "` + long + `", "", 1]`,
		"user of a request":       `[4, "k", "` + long + `", 1]`,
		"device key of an offer":  `[3, "` + long + `", [1, "k:1"], null]`,
		"match key":               `[3, "k", [1, "` + long + `"], null]`,
		"host":                    `[3, "k", [1, "k:1"], "` + long + `"]`,
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, payload, rejectBadMessage) })
	}
	if _, err := newRegistry(false, 0).request(&peer{}, time.Time{}, tvm.Request{Priority: nan()}, nil); !errors.Is(err, errNaN) {
		t.Errorf("NaN as a priority: %v", err)
	}
}

func nan() float64 {
	zero := 0.0
	return zero / zero
}

func TestFrameMemoryIsBounded(t *testing.T) {
	h := start(t, Options{})
	h.frameMemory.Store(maxFrameMemory)
	defer h.frameMemory.Store(0)
	w := h.join()
	w.write([]byte{0, 0, 0x10, 0})
	_ = w.nc.SetWriteDeadline(time.Now().Add(patience))
	for {
		if _, err := w.nc.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	eventually(t, "counted", func() uint64 { return h.rejectedFor(rejectMemory) }, 1)
	h.join().wantOpen() // short frames need none of it
}

func TestRandomBytesDisturbNobody(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	h := start(t, Options{HandshakeTimeout: time.Second, FrameTimeout: time.Second})
	server, client := h.register("k", "k:0"), h.join()
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var vandals sync.WaitGroup
	for i := range 4 {
		vandals.Go(func() { vandalise(ctx, h.addr, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	rounds := 0
	for ; ctx.Err() == nil; rounds++ {
		client.send(`[4, "k", "", 1]`)
		client.wantGrant(fmt.Sprintf("k:%d", rounds))
		putOne(server, "k", fmt.Sprintf("k:%d", rounds+1))
	}
	vandals.Wait()
	t.Logf("%d good rounds meanwhile", rounds)
	h.wantConns(2)
	eventually(t, "memory of frames", h.frameMemory.Load, 0)
	if s := h.Summary(); len(s.Servers) != 1 {
		t.Errorf("%d servers, want 1", len(s.Servers))
	}
}

// vandalise sends frames that are more and less wrong.
func vandalise(ctx context.Context, addr string, r *rand.Rand) {
	texts := []string{`[3, "junk", [1, "junk:1"], null]`, `[4, "junk", "", 1]`, `[5, {"key": "server:junk"}]`, `[6]`, `[7]`, `[1]`}
	for ctx.Err() == nil {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			continue
		}
		var b []byte
		if r.IntN(4) > 0 {
			b = append(b, magicBytes...)
		}
		for range r.IntN(5) {
			text := []byte(texts[r.IntN(len(texts))])
			if r.IntN(2) == 0 {
				text[r.IntN(len(text))] = byte(r.Uint32())
			}
			b = tvm.AppendFrame(b, text)
		}
		for range r.IntN(64) {
			b = append(b, byte(r.Uint32()))
		}
		_, _ = nc.Write(b)
		_ = nc.SetReadDeadline(time.Now().Add(time.Duration(r.IntN(20)) * time.Millisecond))
		_, _ = nc.Read(make([]byte, 512))
		_ = nc.Close()
	}
}

// safeBuffer is a buffer for logs.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestLog(t *testing.T) {
	var log safeBuffer
	h := start(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	h.register("k", "k:1").close()
	w := h.join()
	w.send(`[99]`)
	w.wantClosed()
	h.wantConns(0)
	for _, want := range []string{
		`msg="server registered" key=server:k`, `msg="server gone" key=server:k`,
		`msg="peer rejected"`, `reason=unknown-code`, `unknown tracker code 99`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %s:\n%s", want, log.String())
		}
	}
}

func TestRejectionsDoNotFloodTheLog(t *testing.T) {
	var log safeBuffer
	l := rejectionLog{log: slog.New(slog.NewTextHandler(&log, nil))}
	clock := newFakeClock()
	bad := &rejection{rejectBadMagic, errors.New("x")}
	for range 1000 {
		l.add(clock.Now(), "peer", bad)
	}
	clock.advance(time.Second)
	l.add(clock.Now(), "peer", bad)
	if n := strings.Count(log.String(), "\n"); n != rejectionsPerSecond+1 {
		t.Errorf("%d lines, want %d", n, rejectionsPerSecond+1)
	}
	if !strings.Contains(log.String(), "omitted_before=990") {
		t.Errorf("the log does not say how much it left out:\n%s", log.String())
	}
}

func TestIPv6(t *testing.T) {
	l, err := tcp.Listen("[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	h := serve(t, Options{}, l, l.Addr().String())
	server := h.register("k", "k:1")
	if got := string(h.server().Info["addr"]); got != `["::1", 9090]` {
		t.Errorf("addr %s", got)
	}
	server.ask(`[4, "k", "", 1]`, `[0, ["::1", 9090, "k:1"]]`)
}
