package workers_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
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
	end := floors(dir)
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	end()
	must(pool.Close())
	pprof.StopCPUProfile()
	os.Exit(0)
}

// floors serves sockets that echo bytes: "raw" in this process, and "relay" in another one to which
// this one passes them on, as a server does with calls and workers.
func floors(dir string) (end func()) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "ECHO="+filepath.Join(dir, "worker"), "SERVERS=")
	in, err := c.StdinPipe()
	must(err)
	out, err := c.StdoutPipe()
	must(err)
	must(c.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	must(err)
	serveRaw(filepath.Join(dir, "raw"), func(b []byte, nc net.Conn) { _, err = nc.Write(b) })
	worker, err := net.Dial("unix", filepath.Join(dir, "worker"))
	must(err)
	answer := make([]byte, 1<<20)
	serveRaw(filepath.Join(dir, "relay"), func(b []byte, nc net.Conn) {
		_, err := worker.Write(b)
		must(err)
		_, err = io.ReadFull(worker, answer[:len(b)])
		must(err)
		_, _ = nc.Write(answer[:len(b)])
	})
	return func() {
		_ = in.Close()
		_ = c.Wait()
	}
}

// rawEcho is the process behind the relay.
func rawEcho(path string) {
	serveRaw(path, func(b []byte, nc net.Conn) { _, _ = nc.Write(b) })
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// serveRaw does something with all messages that come to a socket: their length in four bytes, and so many
// bytes.
func serveRaw(path string, do func(b []byte, nc net.Conn)) {
	l, err := net.Listen("unix", path)
	must(err)
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				in, b := bufio.NewReaderSize(nc, 1<<17), make([]byte, 1<<20)
				for {
					if _, err := io.ReadFull(in, b[:4]); err != nil {
						return
					}
					n := 4 + int(binary.LittleEndian.Uint32(b))
					if _, err := io.ReadFull(in, b[4:n]); err != nil {
						return
					}
					do(b[:n], nc)
				}
			}()
		}
	}()
}

// dialRaw makes a function that sends a message to a raw socket, and waits for the answer.
func dialRaw(b *testing.B, path string, size int) func() {
	nc, err := net.Dial("unix", path)
	must(err)
	b.Cleanup(func() { _ = nc.Close() })
	message, answer := make([]byte, 4+size), make([]byte, 4+size)
	binary.LittleEndian.PutUint32(message, uint32(size))
	return func() {
		_, err := nc.Write(message)
		must(err)
		_, err = io.ReadFull(nc, answer)
		must(err)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// BenchmarkIsolation calls the same methods by the same client and the same server,
// which is another process: in that one, and in a worker of it. So do two floors: a raw socket, and one
// behind a relay, that is the same hop more. They take turns, so that what else the machine does hits all;
// the ratio is what isolation costs, and relay-ratio what the hop alone does.
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
			b.Run(fmt.Sprintf("%s/%d", method, size), func(b *testing.B) { compare(b, clients, dir, method, size) })
		}
	}
}

// compare makes turns of calls, first to the one and then to the others.
func compare(b *testing.B, clients [2]*client.Client, dir, method string, size int) {
	const turn = 500 // so long that who reads finds out what pays
	var took [4]time.Duration
	var each [4][]time.Duration
	calls := [2]client.Call{}
	do := []func(){
		func() { clients[0].Do(context.Background(), &calls[0]) }, func() { clients[1].Do(context.Background(), &calls[1]) },
		dialRaw(b, filepath.Join(dir, "raw"), size), dialRaw(b, filepath.Join(dir, "relay"), size),
	}
	for i := range calls {
		calls[i] = client.Call{Method: method, Args: make([]byte, size), Reply: make([]byte, 0, size)}
		do[i]()
	}
	for b.Loop() {
		for i, once := range do {
			start := time.Now()
			for range turn {
				from := time.Now()
				once()
				each[i] = append(each[i], time.Since(from))
			}
			took[i] += time.Since(start)
		}
	}
	for _, u := range calls {
		if u.Outcome.Code != session.OK {
			b.Fatalf("%+v: %s", u.Outcome, u.Text)
		}
	}
	b.ReportMetric(0, "ns/op")
	var p50 [4]float64
	for i, name := range []string{"here", "isolated", "raw", "relay"} {
		slices.Sort(each[i])
		p50[i] = float64(each[i][len(each[i])/2])
		b.ReportMetric(p50[i], "p50-ns-"+name)
		b.ReportMetric(float64(took[i].Nanoseconds())/float64(b.N*turn), "ns-"+name)
	}
	b.ReportMetric(p50[1]/p50[0], "p50-ratio")
	b.ReportMetric(p50[3]/p50[2], "p50-relay-ratio")
	b.ReportMetric(float64(took[1])/float64(took[0]), "ratio")
	b.ReportMetric(float64(took[3])/float64(took[2]), "relay-ratio")
	b.ReportMetric(float64(took[1])/float64(took[3]), "of-relay")
}
