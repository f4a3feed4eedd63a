//go:build linux

package conformance

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
)

// boundedPod is a pod whose sidecar has the memory that the operator gives it, but less for messages and
// results, so that the test need not send so much, and none for blobs: what is long goes by messages.
func boundedPod(t *testing.T) (p *callsPod, group string) {
	t.Helper()
	its := sidecarOf(t)
	flags, less := memoryFlags(&its), 0
	for i, flag := range flags {
		was, _ := strconv.Atoi(flags[min(i+1, len(flags)-1)])
		switch now := map[string]int{"--message-memory": 160 << 20, "--result-memory": 128 << 20}[flag]; {
		case now > 0:
			flags[i+1] = strconv.Itoa(now)
			less += was - now
		case flag == "--blob-memory":
			less += was
		}
	}
	for _, e := range its.Env {
		if e.Name == "GOMEMLIMIT" {
			heap, _ := strconv.Atoi(e.Value)
			t.Setenv(e.Name, strconv.Itoa(heap-less+256<<20)) // blobs are not of the heap
		}
	}
	group = memoryGroup(t, int(its.Resources.Limits.Memory().Value())-less)
	p = startCallsPod(t, image(t), sharedGroup, "1s", append(flags, "--blobs=false", "--concurrency", "24")...)
	write(t, filepath.Join(group, "cgroup.procs"), strconv.Itoa(p.server.Process.Pid))
	return p, group
}

// lives fails unless the sidecar has had what it needs.
func (p *callsPod) lives(ctx context.Context, group string) {
	p.t.Helper()
	if n := kills(p.t, group); n != "0" {
		p.t.Errorf("the kernel has killed %s processes", n)
	}
	select {
	case <-p.server.ended:
		p.t.Fatalf("the sidecar has ended: %v", p.server.err)
	default:
	}
	if err := formatted(ctx, p.client()); err != nil {
		p.t.Errorf("the next call: %v", err)
	}
}

// used is how much memory a group uses, bytes.
func used(t *testing.T, group string) int {
	t.Helper()
	for _, file := range []string{"memory.current", "memory.usage_in_bytes"} {
		if text, err := os.ReadFile(filepath.Join(group, file)); err == nil {
			n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
			return n
		}
	}
	t.Fatal("the group does not tell")
	return 0
}

// valve passes on what a client sends to an address, and what it is answered only while it is open.
func valve(t *testing.T, to string, open <-chan struct{}) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			running.Go(func() {
				_, _ = io.Copy(server, client)
				_ = server.Close()
			})
			running.Go(func() {
				defer client.Close()
				for b := make([]byte, 64<<10); ; {
					n, err := server.Read(b)
					if n > 8<<10 { // of a result
						<-open
					}
					if _, failed := client.Write(b[:n]); err != nil || failed != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}

// Results of any number wait for clients that do not read, in their workers as soon as the sidecar has no room for
// more; and none is lost.
func TestLongResultsDoNotEndAPodsSidecar(t *testing.T) {
	p, group := boundedPod(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	open := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 14 {
		clients.Go(func() {
			c, err := rpc.Dial(rpc.ClientOptions{NoSharedMemory: true, Grace: patience}, valve(t, p.address, open))
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			want := bytes.Repeat([]byte{byte(i)}, 30<<20)
			got, err := rpc.Call[[]byte](ctx, c, "echo", want)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("client %d has got %d bytes, %v", i, len(got), err)
			}
		})
	}
	const still = time.Second
	most, since := 0, time.Now()
	eventually(t, patience, "it takes no more", func() bool {
		if n := used(t, group); n > most+16<<20 || n < 100<<20 {
			most, since = n, time.Now()
		}
		return time.Since(since) > still
	})
	t.Logf("the sidecar uses %d MiB when it takes no more", most>>20)
	close(open)
	clients.Wait()
	p.lives(ctx, group)
}

// Clients that speak gRPC send more than there is room for: some are told so, and the sidecar lives.
func TestMessagesOfGRPCDoNotEndAPodsSidecar(t *testing.T) {
	p, group := boundedPod(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := make([]byte, 30<<20)
	var clients sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[codes.Code]int{}
	for range 14 {
		clients.Go(func() {
			cc, err := grpc.NewClient("passthrough:"+p.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)))
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = cc.Close() }()
			for range 2 {
				out, err := rpcpoolv1.NewCallsClient(cc).Invoke(ctx, &rpcpoolv1.InvokeRequest{Method: "echo", Args: args})
				s := status.Convert(err)
				refused := s.Code() == codes.ResourceExhausted && strings.Contains(s.Message(), "no room")
				starved := s.Code() == codes.Unavailable // of a machine that is too busy for keepalive
				if err == nil && len(out.GetResult()) != len(args) || err != nil && !refused && !starved {
					t.Errorf("%d bytes, %v", len(out.GetResult()), err)
				}
				mu.Lock()
				outcomes[s.Code()]++
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	t.Logf("clients were told %v", outcomes)
	if outcomes[codes.OK] == 0 || outcomes[codes.ResourceExhausted] == 0 {
		t.Errorf("clients were told %v", outcomes)
	}
	p.lives(ctx, group)
}
