package worker_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/tvm"
	worker "rpcpool.dev/workers/go"
	"rpcpool.dev/workers/go/client"
	"rpcpool.dev/workers/go/internal/doortest"
)

const patience = time.Minute // for everything that must happen

// process is a worker in a process of its own, and what an agent has of it.
type process struct {
	cmd     *exec.Cmd
	workDir string
	stderr  bytes.Buffer
	exited  chan struct{} // closed when state is set
	state   *os.ProcessState
}

// start starts a worker whose descriptor 3 is fd3, which it closes here.
func start(t *testing.T, fd3 *os.File, env ...string) *process {
	t.Helper()
	p := &process{workDir: t.TempDir(), exited: make(chan struct{})}
	p.cmd = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	p.cmd.Env = append(os.Environ(), envWorker+"=1", "GOTRACEBACK=none", "GORACE=atexit_sleep_ms=0", "RPCPOOL_WORKDIR="+p.workDir)
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Dir = p.workDir
	p.cmd.Stderr = &p.stderr
	p.cmd.ExtraFiles = []*os.File{fd3}
	p.cmd.WaitDelay = patience
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd3.Close()
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait()
		p.state = p.cmd.ProcessState
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("worker's stderr:\n%s", &p.stderr)
		}
	})
	return p
}

// wait returns how the worker ended.
func (p *process) wait(t *testing.T) syscall.WaitStatus {
	t.Helper()
	select {
	case <-p.exited:
		return p.state.Sys().(syscall.WaitStatus)
	case <-time.After(patience):
		t.Fatal("the worker does not end")
		return 0
	}
}

func (p *process) wantExit(t *testing.T, code int) {
	t.Helper()
	if ws := p.wait(t); !ws.Exited() || ws.ExitStatus() != code {
		t.Errorf("worker: %s, want exit status %d", p.state, code)
	}
}

// sessionFile connects a client and returns the server's end of the session,
// after the handshake.
func sessionFile(t *testing.T, use func(addr string)) *os.File {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go use(l.Addr().String())
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := doortest.Greet(conn); err != nil {
		t.Fatal(err)
	}
	f, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// dialing starts to connect a client; the session comes when the worker answers.
func dialing(t *testing.T) (f *os.File, session func() *client.Session) {
	t.Helper()
	type result struct {
		s   *client.Session
		err error
	}
	dialled := make(chan result, 1)
	f = sessionFile(t, func(addr string) {
		s, err := client.Dial(t.Context(), addr, "k:1", client.Options{Flavour: tvm.FlavourC})
		dialled <- result{s, err}
	})
	return f, func() *client.Session {
		t.Helper()
		var r result
		select {
		case r = <-dialled:
		case <-time.After(patience):
			t.Fatal("the worker does not answer")
		}
		if r.err != nil {
			t.Fatal(r.err)
		}
		t.Cleanup(func() { r.s.Close() })
		return r.s
	}
}

// cold starts a worker with its session.
func cold(t *testing.T, env ...string) (*process, *client.Session) {
	t.Helper()
	f, session := dialing(t)
	p := start(t, f, append(env, "RPCPOOL_SESSION=fd", "RPCPOOL_SESSION_ID=s1", "RPCPOOL_KEY=k", "RPCPOOL_CLIENT=127.0.0.1:1")...)
	return p, session()
}

// spare starts a worker without a session and waits until it is ready.
func spare(t *testing.T, env ...string) (*process, *net.UnixConn) {
	t.Helper()
	return waiting(t, "unix", env...)
}

// waiting starts a worker whose sessions come by a socket.
func waiting(t *testing.T, mode string, env ...string) (*process, *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	here, there := os.NewFile(uintptr(fds[0]), "agent"), os.NewFile(uintptr(fds[1]), "worker")
	defer here.Close()
	conn, err := net.FileConn(here)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := start(t, there, append(env, "RPCPOOL_SESSION="+mode)...)
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	ready := make([]byte, 2)
	if n, err := conn.Read(ready); err != nil || string(ready[:n]) != "R" {
		t.Fatalf("worker said %q, %v; want R", ready[:n], err)
	}
	return p, conn.(*net.UnixConn)
}

// handOver gives a spare its session, what is said about it in the given parts.
func handOver(t *testing.T, c *net.UnixConn, f *os.File, parts ...string) {
	t.Helper()
	defer f.Close()
	for i, part := range parts {
		var rights []byte
		if i == 0 {
			rights = unix.UnixRights(int(f.Fd()))
		}
		if _, _, err := c.WriteMsgUnix([]byte(part), rights, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func warm(t *testing.T) (*process, *client.Session) {
	t.Helper()
	p, agent := spare(t)
	f, session := dialing(t)
	handOver(t, agent, f, `S{"id":"s1","key":"k","client":"127.0.0.1:1","timeout_s":10}`)
	return p, session()
}

// TestContract is what holds however the session came.
func TestContract(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T) (*process, *client.Session){
		"cold": func(t *testing.T) (*process, *client.Session) { return cold(t) },
		"warm": warm,
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("a session that ends in order", func(t *testing.T) {
				p, s := begin(t)
				if got := call(t, s, "test.fds"); got != "0,1,2,3" {
					t.Errorf("the worker has descriptors %v, want 0,1,2 and its session as 3", got)
				}
				for variable, want := range map[string]string{
					"RPCPOOL_SESSION_ID": "s1", "RPCPOOL_KEY": "k", "RPCPOOL_CLIENT": "127.0.0.1:1", "RPCPOOL_WORKDIR": p.workDir,
				} {
					if got := call(t, s, "test.env", variable); got != want {
						t.Errorf("%s = %q, want %q", variable, got, want)
					}
				}
				if got := call(t, s, "test.pid"); got != int64(p.cmd.Process.Pid) {
					t.Errorf("answered by process %v, want %d", got, p.cmd.Process.Pid)
				}
				if err := s.Upload(t.Context(), "lib.so", []byte("code")); err != nil {
					t.Fatal(err)
				}
				if b, err := os.ReadFile(filepath.Join(p.workDir, "lib.so")); err != nil || string(b) != "code" {
					t.Errorf("uploaded file holds %q, %v", b, err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				p.wantExit(t, worker.ExitOK)
			})
			t.Run("EOF between packets", func(t *testing.T) {
				p, s := begin(t)
				s.NetConn().Close()
				p.wantExit(t, worker.ExitOK)
			})
			t.Run("EOF inside a packet", func(t *testing.T) {
				p, s := begin(t)
				if _, err := s.NetConn().Write([]byte{8, 0, 0, 0, 0, 0, 0, 0, 3}); err != nil {
					t.Fatal(err)
				}
				s.NetConn().Close()
				p.wantExit(t, worker.ExitProtocol)
			})
			t.Run("unknown code", func(t *testing.T) {
				p, s := begin(t)
				if _, err := s.NetConn().Write([]byte{4, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0}); err != nil {
					t.Fatal(err)
				}
				p.wantExit(t, worker.ExitProtocol)
			})
			t.Run("client that resets while it is owed a reply", func(t *testing.T) {
				p, s := begin(t)
				f, err := s.Func(t.Context(), "test.sleep")
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				if err := s.NetConn().(*net.TCPConn).SetLinger(0); err != nil {
					t.Fatal(err)
				}
				if _, err := f.Call(ctx, 0.3); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("got %v, want the deadline", err)
				}
				p.wantExit(t, worker.ExitOK)
			})
			t.Run("SIGTERM", func(t *testing.T) {
				p, s := begin(t)
				_ = s
				if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil {
					t.Fatal(err)
				}
				if ws := p.wait(t); !ws.Signaled() || ws.Signal() != unix.SIGTERM {
					t.Errorf("worker: %s, want death by SIGTERM", p.state)
				}
			})
		})
	}
}

// TestLargeReplies are written by the worker's own vectored writes, in parts
// where the client is slow to read.
func TestLargeReplies(t *testing.T) {
	p, s := cold(t)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB
	if err := s.Upload(t.Context(), "large", want); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Download(t.Context(), "large"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of a file came back, %v", len(got), err)
	}
	a, err := s.NewArray(t.Context(), bytes8, int64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.CopyFrom(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got, err := a.CopyTo(t.Context()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of an array came back, %v", len(got), err)
	}
	s.Close()
	p.wantExit(t, worker.ExitOK)
}

func TestSpareThatIsNotUsedExitsAtOnce(t *testing.T) {
	p, agent := spare(t)
	agent.Close()
	p.wantExit(t, worker.ExitOK)
}

func TestHandOverInParts(t *testing.T) {
	p, agent := spare(t)
	f, session := dialing(t)
	handOver(t, agent, f, "S", `{"id":"s2",`, `"key":"k"}`)
	s := session()
	if got := call(t, s, "test.env", "RPCPOOL_SESSION_ID"); got != "s2" {
		t.Errorf("session id %q", got)
	}
	s.Close()
	p.wantExit(t, worker.ExitOK)
}

func TestContractIsNotKept(t *testing.T) {
	null := func() *os.File {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	t.Run("no session", func(t *testing.T) {
		p := start(t, null(), "RPCPOOL_SESSION=")
		p.wantExit(t, worker.ExitUsage)
		if want := `RPCPOOL_SESSION is "", want "fd", "unix" or "watchdog"`; !strings.Contains(p.stderr.String(), want) {
			t.Errorf("stderr %q, want %q", &p.stderr, want)
		}
	})
	for name, first := range map[string]string{
		"another byte": `X{"id":"s1"}`, "no JSON": "S}", "trailing comma": `S{"id":"s1",}`,
	} {
		t.Run("hand-over with "+name, func(t *testing.T) {
			p, agent := spare(t)
			f, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			handOver(t, agent, f, first)
			p.wantExit(t, worker.ExitUsage)
		})
	}
	t.Run("hand-over without a descriptor", func(t *testing.T) {
		p, agent := spare(t)
		if _, err := agent.Write([]byte(`S{"id":"s1"}`)); err != nil {
			t.Fatal(err)
		}
		p.wantExit(t, worker.ExitUsage)
	})
}

// TestRow086_UploadOverTheLimit: the upload fails, the session and its worker
// go on.
func TestRow086_UploadOverTheLimit(t *testing.T) {
	p, s := cold(t, envFileLimit+"=100000")
	if err := s.Upload(t.Context(), "big", make([]byte, 200_000)); !remoteSays(err, "file too large") {
		t.Errorf("upload over the limit: %v", err)
	}
	if _, err := s.Call(t.Context(), "test.fsize", 200_000); !remoteSays(err, "after 100000 bytes") {
		t.Errorf("file over the limit: %v", err)
	}
	if err := s.Upload(t.Context(), "small", make([]byte, 50_000)); err != nil {
		t.Errorf("upload within the limit: %v", err)
	}
	s.Close()
	p.wantExit(t, worker.ExitOK)
}

// TestReplyIsReadBeforeTheSessionIsClosed: a client that is refused in the
// middle of what it sends still gets to read why.
func TestReplyIsReadBeforeTheSessionIsClosed(t *testing.T) {
	p, s := cold(t)
	head := binary.LittleEndian.AppendUint64(nil, 1<<50)
	head = binary.LittleEndian.AppendUint32(head, uint32(tvm.RPCCallFunc))
	sent := make(chan error, 1)
	go func() {
		_, err := s.NetConn().Write(append(head, make([]byte, 4<<20)...))
		sent <- err
	}()
	_ = s.NetConn().SetReadDeadline(time.Now().Add(patience))
	body := receive(t, s.NetConn())
	if err := <-sent; err != nil {
		t.Errorf("the rest of the packet: %v", err)
	}
	reply, err := tvm.DecodePacket(tvm.FlavourC, body)
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := reply.(tvm.Exception); !ok || !strings.Contains(e.Text, "over this worker's limit") {
		t.Errorf("got %v, want an exception", reply)
	}
	s.NetConn().Close()
	p.wantExit(t, worker.ExitProtocol)
}
