package workers_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"testing"
	"time"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/workers"
	"rpcpool.dev/rpc/workers/direct"
)

// servers serves the same methods at two sockets of a directory: "here" in this
// process, "there" in a worker. It ends with its standard input.
func servers(dir string) {
	if path := os.Getenv("PROFILE"); path != "" {
		f, err := os.Create(path)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		must(err)
		defer pprof.StopCPUProfile()
	}
	starter, err := direct.New(direct.Command{Path: os.Args[0]})
	must(err)
	pool, err := workers.New(workers.Options{Starter: starter, Concurrency: 64, Spares: -1})
	must(err)
	there, err := server.New(pool, server.Options{Limit: -1, Open: true})
	must(err)
	pool.Start(there)
	here, err := server.New(&server.Local{}, server.Options{})
	must(err)
	for _, m := range program() {
		must(here.Register(m))
	}
	for name, core := range map[string]*server.Core{"here": here, "there": there} {
		ns, err := conn.NewServer(conn.ServerOptions{Handler: server.NewDoor(core), Admit: func(h *frame.Hello) frame.HelloAck {
			return frame.Answer(h, frame.HelloAck{Codecs: 7, Features: frame.FeatureStreams})
		}})
		must(err)
		l, err := net.Listen("unix", filepath.Join(dir, name))
		must(err)
		go func() { _ = ns.Serve(l) }()
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	must(pool.Close())
	pprof.StopCPUProfile()
	os.Exit(0)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// BenchmarkIsolation calls the same methods by the same client and the same server,
// which is another process: in that one, and in a worker of it. Both take turns, so
// that what else the machine does hits both; the ratio is what isolation costs.
func BenchmarkIsolation(b *testing.B) {
	dir := b.TempDir()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "SERVERS="+dir)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	must(err)
	out, err := c.StdoutPipe()
	must(err)
	must(c.Start())
	b.Cleanup(func() {
		_ = in.Close()
		_ = c.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		b.Fatalf("%q, %v", line, err)
	}
	var clients [2]*client.Client
	for i, name := range []string{"here", "there"} {
		clients[i], err = client.New(client.Options{})
		must(err)
		b.Cleanup(func() { _ = clients[i].Close() })
		must(clients[i].Update([]conn.Endpoint{{ID: name, Unix: filepath.Join(dir, name)}}))
	}
	for _, size := range []int{64, 64 << 10} {
		for _, method := range []string{"echo", "echo!"} {
			b.Run(fmt.Sprintf("%s/%d", method, size), func(b *testing.B) { compare(b, clients, method, size) })
		}
	}
}

// compare makes turns of calls, first to the one and then to the other.
func compare(b *testing.B, clients [2]*client.Client, method string, size int) {
	var took, best [2]time.Duration
	calls := [2]client.Call{}
	for i := range calls {
		calls[i] = client.Call{Method: method, Args: make([]byte, size), Reply: make([]byte, 0, size)}
		clients[i].Do(context.Background(), &calls[i])
	}
	const turn = 20 // so short that some of them are not disturbed
	for b.Loop() {
		for i, c := range clients {
			start := time.Now()
			for range turn {
				c.Do(context.Background(), &calls[i])
			}
			d := time.Since(start)
			took[i] += d
			if best[i] == 0 || d < best[i] {
				best[i] = d
			}
		}
	}
	for _, u := range calls {
		if u.Outcome.Code != session.OK {
			b.Fatalf("%+v: %s", u.Outcome, u.Text)
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, name := range []string{"here", "isolated"} {
		b.ReportMetric(float64(took[i].Nanoseconds())/float64(b.N*turn), "ns-"+name)
		b.ReportMetric(float64(best[i].Nanoseconds())/turn, "best-ns-"+name)
	}
	b.ReportMetric(float64(took[1])/float64(took[0]), "ratio")
	b.ReportMetric(float64(best[1])/float64(best[0]), "best-ratio")
}
