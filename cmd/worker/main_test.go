package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"rpcpool.dev/tvm"
)

// envEcho makes the test binary the floor of BenchmarkCall.
const envEcho = "RPCPOOL_TEST_ECHO"

func TestMain(m *testing.M) {
	if os.Getenv(envEcho) != "" {
		pong()
		return
	}
	goleak.VerifyTestMain(m)
}

// pong answers every message on descriptor 3, by plain system calls, with as
// many bytes as a worker's reply to BenchmarkCall has.
func pong() {
	reply := append(make([]byte, 0, 100), 60, 0, 0, 0, 0, 0, 0, 0, byte(tvm.RPCReturn))[:68]
	for buf := make([]byte, 4096); ; {
		if n, err := unix.Read(3, buf); n <= 0 || err != nil {
			return
		}
		if _, err := unix.Write(3, reply); err != nil {
			return
		}
	}
}

func TestUsage(t *testing.T) {
	t.Setenv("RPCPOOL_SESSION", "")
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"--help"}, 0},
		{[]string{"--no-such-flag"}, 2},
		{[]string{"--flavour", "D"}, 2},
		{[]string{"serve"}, 2},
		{nil, 2}, // by hand: there is no agent
		{[]string{"--flavour=a", "--test-functions"}, 2},
	} {
		if got := run(append([]string{"rpcpool-worker"}, c.args...)); got != c.want {
			t.Errorf("rpcpool-worker %s: status %d, want %d", strings.Join(c.args, " "), got, c.want)
		}
	}
}

// TestWorkerIsLean: a worker is started for every session, and what it links it
// pays for each time. Package net alone, by cgo, doubles the time to ready.
func TestWorkerIsLean(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(out)) {
		dep = strings.TrimSpace(dep)
		host, _, _ := strings.Cut(dep, "/")
		external := strings.Contains(host, ".") && host != "rpcpool.dev" && !strings.HasPrefix(dep, "golang.org/x/sys/")
		if external || dep == "net" || dep == "runtime/cgo" || dep == "log/slog" {
			t.Errorf("the worker links %s", dep)
		}
	}
}

// build builds the worker.
func build(tb testing.TB) string {
	tb.Helper()
	binary := filepath.Join(tb.TempDir(), "rpcpool-worker")
	if out, err := exec.CommandContext(tb.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		tb.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// spare starts a warm worker and returns it and the agent's end of its socket
// when it is ready.
func spare(tb testing.TB, binary string) (*exec.Cmd, int) {
	tb.Helper()
	return waiting(tb, binary, "unix")
}

// waiting starts a worker whose sessions come by a socket, and returns the same.
func waiting(tb testing.TB, binary, mode string) (*exec.Cmd, int) {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "RPCPOOL_SESSION="+mode, "RPCPOOL_WORKDIR="+os.TempDir())
	theirs := os.NewFile(uintptr(fds[1]), "worker")
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	theirs.Close()
	var ready [1]byte
	if n, err := unix.Read(fds[0], ready[:]); n != 1 || err != nil || ready[0] != 'R' {
		tb.Fatalf("not ready: %d, %v", n, err)
	}
	return cmd, fds[0]
}

// BenchmarkStart is from exec to ready; its floor is a program that does
// nothing, from exec to the end of its output.
func BenchmarkStart(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("worker", func(b *testing.B) {
		binary := build(b)
		var total time.Duration
		for range b.N {
			began := time.Now()
			cmd, agent := spare(b, binary)
			total += time.Since(began)
			unix.Close(agent)
			if err := cmd.Wait(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(total)/float64(b.N), "ns/ready")
	})
}

// BenchmarkHandOver is from the hand-over of a session to a spare worker until
// its first call is answered: initialize, look up, call.
func BenchmarkHandOver(b *testing.B) {
	binary := build(b)
	var requests [][]byte
	for _, p := range []tvm.Packet{
		tvm.InitServer{Version: tvm.ProtocolVersion},
		tvm.Syscall{Code: tvm.RPCGetGlobalFunc, Args: []tvm.Value{tvm.Str("tvm.rpc.server.workpath")}},
		tvm.CallFunc{Handle: 128, Args: []tvm.Value{tvm.Str("lib.so")}},
	} {
		request, err := tvm.AppendPacket(nil, tvm.FlavourC, p)
		if err != nil {
			b.Fatal(err)
		}
		requests = append(requests, request)
	}
	var total time.Duration
	for range b.N {
		cmd, agent := spare(b, binary)
		session, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		client := os.NewFile(uintptr(session[0]), "session")
		began := time.Now()
		err = unix.Sendmsg(agent, []byte(`S{"id":"1","key":"k","client":"c","timeout_s":1}`), unix.UnixRights(session[1]), nil, 0)
		if err != nil {
			b.Fatal(err)
		}
		unix.Close(session[1])
		for _, request := range requests {
			if err := ask(client, request); err != nil {
				b.Fatal(err)
			}
		}
		total += time.Since(began)
		client.Close()
		unix.Close(agent)
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(total)/float64(b.N), "ns/session")
}

// BenchmarkSessionInARow is a whole session of a long-lived worker, from its
// hand-over until the worker is ready for the next: initialize, look up, call.
func BenchmarkSessionInARow(b *testing.B) {
	var requests [][]byte
	for _, p := range []tvm.Packet{
		tvm.InitServer{Version: tvm.ProtocolVersion},
		tvm.Syscall{Code: tvm.RPCGetGlobalFunc, Args: []tvm.Value{tvm.Str("tvm.rpc.server.workpath")}},
		tvm.CallFunc{Handle: 128, Args: []tvm.Value{tvm.Str("lib.so")}},
	} {
		request, err := tvm.AppendPacket(nil, tvm.FlavourC, p)
		if err != nil {
			b.Fatal(err)
		}
		requests = append(requests, request)
	}
	cmd, agent := waiting(b, build(b), "watchdog")
	about := []byte(`S{"id":"1","key":"k","client":"c","timeout_s":60,"workdir":"` + b.TempDir() + `"}`)
	for b.Loop() {
		session, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		client := os.NewFile(uintptr(session[0]), "session")
		if err := unix.Sendmsg(agent, about, unix.UnixRights(session[1]), nil, 0); err != nil {
			b.Fatal(err)
		}
		unix.Close(session[1])
		for _, request := range requests {
			if err := ask(client, request); err != nil {
				b.Fatal(err)
			}
		}
		client.Close()
		var ready [1]byte
		if n, err := unix.Read(agent, ready[:]); n != 1 || err != nil || ready[0] != 'R' {
			b.Fatalf("not ready again: %d, %v", n, err)
		}
	}
	unix.Close(agent)
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCall is one call of a function in a worker process over TCP; its
// floor is as many bytes to and from a process that does not look at them.
func BenchmarkCall(b *testing.B) {
	request, err := tvm.AppendPacket(nil, tvm.FlavourC, tvm.CallFunc{Handle: 128, Args: []tvm.Value{tvm.Str("lib.so")}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("floor", func(b *testing.B) {
		client, server := tcpPair(b)
		session, err := server.File()
		if err != nil {
			b.Fatal(err)
		}
		server.Close()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envEcho+"=1")
		cmd.ExtraFiles = []*os.File{session}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		session.Close()
		for b.Loop() {
			if err := ask(client, request); err != nil {
				b.Fatal(err)
			}
		}
		client.Close()
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
	})
	b.Run("worker", func(b *testing.B) {
		cmd, agent := spare(b, build(b))
		client, server := tcpPair(b)
		raw, err := server.File()
		if err != nil {
			b.Fatal(err)
		}
		server.Close()
		about := []byte(`S{"id":"1","key":"k","client":"c","timeout_s":1}`)
		if err := unix.Sendmsg(agent, about, unix.UnixRights(int(raw.Fd())), nil, 0); err != nil {
			b.Fatal(err)
		}
		raw.Close()
		for _, p := range []tvm.Packet{
			tvm.InitServer{Version: tvm.ProtocolVersion},
			tvm.Syscall{Code: tvm.RPCGetGlobalFunc, Args: []tvm.Value{tvm.Str("tvm.rpc.server.workpath")}},
		} {
			first, err := tvm.AppendPacket(nil, tvm.FlavourC, p)
			if err != nil {
				b.Fatal(err)
			}
			if err := ask(client, first); err != nil {
				b.Fatal(err)
			}
		}
		for b.Loop() {
			if err := ask(client, request); err != nil {
				b.Fatal(err)
			}
		}
		client.Close()
		unix.Close(agent)
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
	})
}

func tcpPair(tb testing.TB) (client, server *net.TCPConn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func ask(rw io.ReadWriter, request []byte) error {
	if _, err := rw.Write(request); err != nil {
		return err
	}
	var head [tvm.PacketHeader]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return err
	}
	n, err := tvm.PacketLen(head, 1<<20)
	if err != nil {
		return err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(rw, body); err != nil {
		return err
	}
	if !bytes.HasPrefix(body, []byte{byte(tvm.RPCReturn)}) {
		return fmt.Errorf("answer % x", body)
	}
	return nil
}
