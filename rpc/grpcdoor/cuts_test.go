package grpcdoor

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// shears is a proxy that cuts every connection when some bytes have come back: what was
// asked by it has run, and has no answer.
type shears struct {
	listener net.Listener
	to       string
	running  sync.WaitGroup

	mu    sync.Mutex
	rand  *rand.Rand
	conns int
}

func newShears(t *testing.T, to string) *shears {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &shears{listener: l, to: to, rand: rand.New(rand.NewPCG(seed, 0))}
	s.running.Go(s.serve)
	t.Cleanup(func() {
		_ = l.Close()
		s.running.Wait()
	})
	return s
}

func (s *shears) serve() {
	for {
		in, err := s.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", s.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		s.mu.Lock()
		s.conns++
		back := 400 + s.rand.Int64N(2000)
		s.mu.Unlock()
		for _, way := range []func(){
			func() { _, _ = io.Copy(out, in) },
			func() { _, _ = io.CopyN(in, out, back) },
		} {
			s.running.Go(func() {
				defer in.Close()
				defer out.Close()
				way()
			})
		}
	}
}

// policy lets gRPC itself retry.
const policy = `{"methodConfig": [{"name": [{"service": "rpcpool.v1.Calls"}], "retryPolicy": {"maxAttempts": 5,
  "initialBackoff": "0.005s", "maxBackoff": "0.05s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}`

// TestS3_9_CallsOverCutConnectionsRunOnce holds what clients are told against what the
// handler knows.
func TestS3_9_CallsOverCutConnectionsRunOnce(t *testing.T) {
	r := newRig(t, server.Options{}, Options{})
	var mu sync.Mutex
	runs := map[string]int{}
	err := r.core.Register(server.Method{Name: "note", Run: func(j *server.Job) (session.Code, []byte) {
		mu.Lock()
		defer mu.Unlock()
		runs[string(j.Args)]++
		return session.OK, fmt.Appendf(nil, "%s: %d", j.Args, runs[string(j.Args)])
	}})
	if err != nil {
		t.Fatal(err)
	}
	proxy := newShears(t, r.addr)
	impatient := grpc.WithConnectParams(grpc.ConnectParams{
		MinConnectTimeout: 10 * time.Second,
		Backoff:           backoff.Config{BaseDelay: time.Millisecond, Multiplier: 1, MaxDelay: 5 * time.Millisecond},
	})
	const sessions, threads, each = 3, 2, 60
	var running sync.WaitGroup
	for n := range sessions {
		c := r.open(r.dial())
		opts := []grpc.DialOption{impatient}
		if n > 0 { // the first asks again by itself only
			opts = append(opts, grpc.WithDefaultServiceConfig(policy))
		}
		through := &rig{t: t, addr: proxy.listener.Addr().String()}
		c.rpc = through.dial(opts...)
		var lock sync.Mutex
		for w := range threads {
			running.Go(func() {
				for i := 0; i < each || i < 10*each && r.core.Counts().Duplicates == 0; i++ { // until something was tested
					lock.Lock()
					in := c.next("note", fmt.Sprintf("%d/%d/%d", n, w, i))
					lock.Unlock()
					if got, want := until(soon(t), t, c.rpc, in), string(in.GetArgs())+": 1"; got != want {
						t.Errorf("got %q, want %q", got, want)
					}
				}
			})
		}
	}
	running.Wait()
	if len(runs) < sessions*threads*each {
		t.Errorf("%d calls have run", len(runs))
	}
	n := r.core.Counts()
	proxy.mu.Lock()
	defer proxy.mu.Unlock()
	t.Logf("%d calls, %d connections, %d duplicates answered from the table", len(runs), proxy.conns, n.Duplicates)
	if n.Duplicates == 0 {
		t.Error("no call was sent twice: nothing was tested")
	}
}

// until asks until there is an answer.
func until(ctx context.Context, t *testing.T, rpc pb.CallsClient, in *pb.InvokeRequest) string {
	t.Helper()
	for ctx.Err() == nil {
		out, err := rpc.Invoke(ctx, in)
		if err == nil {
			return string(out.GetResult())
		}
		if _, f := failureOf(err); f != nil {
			return f.String()
		}
	}
	return "no answer"
}
