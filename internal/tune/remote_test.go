package tune

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
	worker "rpcpool.dev/workers/go"
	"rpcpool.dev/workers/go/client"
	"rpcpool.dev/workers/go/matmul"
)

// startTracker runs a tracker for the test and returns its address.
func startTracker(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = tracker.NewServer(tracker.Options{}).Serve(ctx, l) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return l.Addr().String()
}

// startServer runs an RPC server of key for the test: it offers itself to the
// tracker, shakes hands and serves sessions in this process, one after the
// other. register may use conn, the session's connection, to misbehave.
func startServer(t *testing.T, trackerAddr, key string, register func(s *worker.Server, conn net.Conn) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c, err := tracker.Dial(ctx, trackerAddr)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	info := tvm.UpdateInfo{Info: map[string]json.RawMessage{
		"key":  json.RawMessage(fmt.Sprintf("%q", tvm.ServerKeyPrefix+key)),
		"addr": json.RawMessage(fmt.Sprintf("[null, %s]", port)),
	}}
	if err := c.UpdateInfo(ctx, info); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			put := tvm.Put{Key: key, Port: json.RawMessage(port), MatchKey: fmt.Sprintf("%s:%d", key, i)}
			if c.Put(ctx, put) != nil {
				return
			}
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if err := serveOne(ctx, conn, key, register); err != nil {
				t.Errorf("server of %s: %v", key, err)
			}
		}
	})
	t.Cleanup(func() { cancel(); _ = l.Close(); _ = c.Close(); wg.Wait() })
	return l.Addr().String()
}

func serveOne(ctx context.Context, conn net.Conn, key string, register func(s *worker.Server, conn net.Conn) error) error {
	defer conn.Close()
	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	n, err := tvm.HandshakeLen(head)
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, make([]byte, n)); err != nil {
		return err
	}
	if _, err := conn.Write(tvm.AppendAccept(nil, tvm.ServerKeyPrefix+key)); err != nil {
		return err
	}
	s := worker.New(tvm.FlavourC)
	if err := register(s, conn); err != nil {
		return err
	}
	_ = s.ServeConn(ctx, conn) // a session may well end badly
	return nil
}

func realKernel(s *worker.Server, _ net.Conn) error { return matmul.Register(s) }

func TestRemoteMeasuresOnARealSession(t *testing.T) {
	addr := startTracker(t)
	server := startServer(t, addr, "cpu", realKernel)
	const n = 40
	pool := &Remote{Tracker: addr, Key: "cpu", Timeout: time.Minute, Size: n, MinSeconds: 0.001}
	cfg := matmul.Config{TileM: 8, TileN: 16, TileK: 8, Order: "ikj", Unroll: 4, Pack: true}

	s, err := pool.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Server() != server {
		t.Errorf("server %s, want %s", s.Server(), server)
	}
	r, err := s.Measure(t.Context(), cfg)
	if err != nil || r.Seconds <= 0 || !matmul.Same(r.Checksum, matmul.Checksum(matmul.Reference(n), n)) {
		t.Errorf("measured %+v, %v", r, err)
	}
	a, b := matmul.Inputs(n)
	r, c, err := s.MeasureArrays(t.Context(), cfg, a, b)
	if err != nil || r.Seconds <= 0 || !sameElements(c, matmul.Reference(n)) {
		t.Errorf("measured %+v and a product of %d elements, %v", r, len(c), err)
	}
	if _, err := s.Measure(t.Context(), matmul.Config{Order: "ikj", Unroll: 4}); outcomeOf(err) != OutcomeError || !strings.Contains(err.Error(), "tile size tm=0") {
		t.Errorf("a configuration that the kernel refuses: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func outcomeOf(err error) Outcome {
	f := &Failure{}
	if errors.As(err, &f) {
		return f.Outcome
	}
	return ""
}

// badKernel ends the session in a way that depends on the unroll factor, as a
// supervisor or a dying process would.
func badKernel(s *worker.Server, conn net.Conn) error {
	return s.Register(matmul.FuncRun, func(_, _, _, _ int, _ string, unroll int, _ bool, _ float64) (string, error) {
		switch unroll {
		case 1: // a process without a supervisor that tells
		case 2:
			_, _ = conn.Write(tvm.AppendException(nil, tvm.FlavourC, "crash-signal: the worker ended with killed by signal 11 (SIGSEGV)"))
		case 4:
			_, _ = conn.Write(tvm.AppendException(nil, tvm.FlavourC, tvm.SessionTimeoutPrefix+"session killed after 2s, its limit"))
		default:
			return "{not JSON", nil
		}
		_ = conn.Close()
		return "", nil
	})
}

func TestRemoteTellsFailuresApart(t *testing.T) {
	addr := startTracker(t)
	startServer(t, addr, "bad", badKernel)
	pool := &Remote{Tracker: addr, Key: "bad", Timeout: time.Minute, Size: 8}
	for _, tc := range []struct {
		name   string
		unroll int
		want   Outcome
		text   string
	}{
		{"the connection just ends", 1, OutcomeCrash, "session lost"},
		{"the supervisor reports a signal", 2, OutcomeCrash, "SIGSEGV"},
		{"the supervisor reports a timeout", 4, OutcomeTimeout, "killed after 2s"},
		{"the result is no result", 8, "", "{not JSON"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := pool.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			cfg := matmul.Naive()
			cfg.Unroll = tc.unroll
			_, err = s.Measure(t.Context(), cfg)
			if err == nil || outcomeOf(err) != tc.want || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("outcome %q, error %v; want %q and %q", outcomeOf(err), err, tc.want, tc.text)
			}
		})
	}
}

func TestOutcomeOfErrors(t *testing.T) {
	remote := func(text string) error { return fmt.Errorf("call: %w", &client.RemoteError{Text: text}) }
	lost := fmt.Errorf("call: %w", client.ErrSessionLost)
	for _, tc := range []struct {
		name string
		err  error
		age  time.Duration // of the session, whose timeout is 10 s
		want Outcome
	}{
		{"killed by a signal", remote("crash-signal: SIGSEGV"), 0, OutcomeCrash},
		{"exit status", remote("crash-exit: status 3"), 0, OutcomeCrash},
		{"out of memory", remote("oom: peak 900 MiB"), 0, OutcomeCrash},
		{"timeout in the words of every server", remote(tvm.SessionTimeoutPrefix + "x"), 0, OutcomeTimeout},
		{"the server stops", remote("killed-drain: the server is stopping"), 0, OutcomeError},
		{"the worker never came up", remote("start-failed: x"), 0, OutcomeError},
		{"the function's own error", remote("tile size tm=0"), 0, OutcomeError},
		{"connection lost", lost, time.Second, OutcomeCrash},
		{"connection lost just at the deadline, by a server that says nothing", lost, 9900 * time.Millisecond, OutcomeTimeout},
		{"the server does nothing at its deadline", fmt.Errorf("call: %w", context.DeadlineExceeded), 20 * time.Second, OutcomeTimeout},
	} {
		s := &remoteSession{pool: &Remote{Timeout: 10 * time.Second}, began: time.Now().Add(-tc.age)}
		if got := outcomeOf(s.failure(tc.err)); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestFloatsOnTheWire(t *testing.T) {
	want := []float32{0, 1, -2.5, 3e38}
	if got := decodeFloats(encodeFloats(want)); !sameElements(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := encodeFloats([]float32{1}); !bytes.Equal(got, []byte{0, 0, 0x80, 0x3f}) {
		t.Errorf("1.0 is % x", got)
	}
}
