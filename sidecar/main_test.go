package sidecar

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/tvm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen; far more than it
// takes, so that only a real failure runs into it.
const patience = 20 * time.Second

// eventually waits for a condition that no event announces.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// scriptedAgent is an agent without processes: it accepts one sidecar after the
// other on a Unix socket and lets the test play the workers.
type scriptedAgent struct {
	deaf     atomic.Bool  // takes sessions without a word
	mute     atomic.Bool  // does not answer pings
	acks     atomic.Int64 // ends that the sidecar has acknowledged
	pongs    atomic.Int64 // pings that it has answered
	t        *testing.T
	path     string
	listener *net.UnixListener

	mu       sync.Mutex
	conn     *supervise.Conn
	hello    supervise.Hello
	commands chan scriptedCommand
	auto     bool // workers become ready by themselves and answer probes
	fail     int  // so many starts fail
	flavour  tvm.Flavour

	afterHello func(*supervise.Conn) // says more; nil: nothing
	longLived  bool                  // what the last start asked for
}

type scriptedCommand struct {
	supervise.Command
	session *os.File // what came with it; nil if nothing
}

func newScriptedAgent(t *testing.T) *scriptedAgent {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // t.TempDir may be too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	a := &scriptedAgent{
		t: t, path: filepath.Join(dir, "a.sock"), auto: true, flavour: tvm.FlavourC,
		hello:    supervise.Hello{Version: supervise.ProtocolVersion, PID: 1},
		commands: make(chan scriptedCommand, 64),
	}
	a.listener, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: a.path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(a.accept)
	t.Cleanup(func() {
		_ = a.listener.Close()
		a.disconnect()
		done.Wait()
		_ = os.RemoveAll(dir)
	})
	return a
}

func (a *scriptedAgent) accept() {
	for {
		c, err := a.listener.AcceptUnix()
		if err != nil {
			return
		}
		conn := supervise.NewConn(c)
		a.greet(conn)
		a.serve(conn)
	}
}

// greet says hello and what comes right after it. A test that sees the server
// react and sends its own event comes later: it waits for the lock.
func (a *scriptedAgent) greet(conn *supervise.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn = conn
	_ = conn.Send(supervise.Event{Kind: supervise.EventHello, Hello: &a.hello}, -1)
	if a.afterHello != nil {
		a.afterHello(conn)
	}
}

func (a *scriptedAgent) serve(conn *supervise.Conn) {
	for {
		var c supervise.Command
		fd, err := conn.Receive(&c)
		if err != nil {
			_ = conn.Close()
			return
		}
		sc := scriptedCommand{Command: c}
		if c.Session != nil && !a.deaf.Load() {
			a.send(supervise.Event{Kind: supervise.EventStarted, Worker: c.Worker, PID: 7})
		}
		if fd >= 0 {
			sc.session = os.NewFile(uintptr(fd), "session")
		}
		if !a.automatic(sc) {
			a.commands <- sc
		}
	}
}

// automatic does what every test expects of an agent: spares become ready and
// probes are answered.
func (a *scriptedAgent) automatic(c scriptedCommand) bool {
	a.mu.Lock()
	auto, flavour, fail := a.auto, a.flavour, a.fail > 0 && c.Op == supervise.OpStart
	if c.Start != nil {
		a.longLived = c.Start.LongLived
	}
	longLived := a.longLived
	if fail {
		a.fail--
	}
	a.mu.Unlock()
	switch {
	case c.Op == supervise.OpAck:
		a.acks.Add(1)
	case c.Op == supervise.OpPing:
		if !a.mute.Load() {
			a.pongs.Add(1)
			a.send(supervise.Event{Kind: supervise.EventPong})
		}
	case fail:
		a.exited(c.Worker, supervise.Report{Cause: supervise.CauseStartFailed, Code: -1, Error: "no such program"})
	case auto && c.Op == supervise.OpStart && c.session == nil:
		a.send(supervise.Event{Kind: supervise.EventStarted, Worker: c.Worker, PID: 7})
		a.send(supervise.Event{Kind: supervise.EventReady, Worker: c.Worker})
	case auto && c.session != nil && c.Session.Client == "probe":
		a.answerProbe(c, flavour)
		if longLived {
			a.send(supervise.Event{Kind: supervise.EventEnded, Worker: c.Worker, Report: &supervise.Report{Cause: supervise.CauseCompleted}})
			return true
		}
		a.exited(c.Worker, supervise.Report{Cause: supervise.CauseCompleted})
	default:
		return false
	}
	return true
}

func (a *scriptedAgent) answerProbe(c scriptedCommand, f tvm.Flavour) {
	defer c.session.Close()
	init := make([]byte, 29)
	if _, err := io.ReadFull(c.session, init); err != nil {
		a.t.Errorf("probe: %v", err)
	}
	reply, err := tvm.AppendPacket(nil, f, tvm.Return{Values: []tvm.Value{tvm.Null()}})
	if err != nil {
		a.t.Error(err)
	}
	_, _ = c.session.Write(reply)
	bye := make([]byte, 12)
	if _, err := io.ReadFull(c.session, bye); err != nil {
		a.t.Errorf("probe: no shutdown: %v", err)
	}
}

func (a *scriptedAgent) send(e supervise.Event) {
	a.mu.Lock()
	conn := a.conn
	a.mu.Unlock()
	_ = conn.Send(e, -1)
}

func (a *scriptedAgent) exited(worker string, r supervise.Report) {
	a.send(supervise.Event{Kind: supervise.EventExited, Worker: worker, Report: &r})
}

// disconnect is the agent's death.
func (a *scriptedAgent) disconnect() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil {
		_ = a.conn.Close()
	}
}

// set changes the script under the lock.
func (a *scriptedAgent) set(change func(*scriptedAgent)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

// next is the next command that is not handled by itself.
func (a *scriptedAgent) next(op supervise.Op) scriptedCommand {
	a.t.Helper()
	select {
	case c := <-a.commands:
		if c.Op != op {
			a.t.Fatalf("command %s, want %s", c.Op, op)
		}
		return c
	case <-time.After(patience):
		a.t.Fatalf("no %s command came", op)
		return scriptedCommand{}
	}
}

// testServer is a server in direct mode over a scripted agent.
type testServer struct {
	*Server
	agent *scriptedAgent
	stop  context.CancelFunc
	ended chan error
}

func startServer(t *testing.T, change func(*Options)) *testServer {
	t.Helper()
	return startServerOver(t, newScriptedAgent(t), change)
}

func startServerOver(t *testing.T, agent *scriptedAgent, change func(*Options)) *testServer {
	t.Helper()
	listener, err := tcp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Key: "dev", Listener: listener, AgentSocket: agent.path, Warm: 1, Logger: quiet(),
		Command: []string{"worker"}, KillGrace: 50 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ts := &testServer{Server: s, agent: agent, stop: cancel, ended: make(chan error, 1)}
	go func() { ts.ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := ts.wait(); err != nil {
			t.Errorf("server ended with %v", err)
		}
	})
	return ts
}

func (s *testServer) wait() error {
	select {
	case err := <-s.ended:
		s.ended <- err
		return err
	case <-time.After(patience):
		return context.DeadlineExceeded
	}
}

// client is a raw connection to a server's door.
type client struct {
	*net.TCPConn
	t *testing.T
}

func (s *testServer) dial(t *testing.T) *client {
	t.Helper()
	c, err := net.DialTCP("tcp", nil, s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return &client{TCPConn: c, t: t}
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	if m, err := io.ReadFull(c, b); err != nil {
		c.t.Fatalf("read %d of %d bytes: %v", m, n, err)
	}
	return b
}

// rest is everything until the end of the connection.
func (c *client) rest() []byte {
	c.t.Helper()
	b, err := io.ReadAll(c)
	if err != nil {
		c.t.Fatalf("read to the end: %v", err)
	}
	return b
}

// handshake shows a ticket and wants to be let in.
func (c *client) handshake(matchKey string, timeout time.Duration) {
	c.t.Helper()
	c.write(tvm.AppendClientHello(nil, matchKey, timeout))
	want := tvm.AppendAccept(nil, "server:dev")
	if got := c.read(len(want)); string(got) != string(want) {
		c.t.Fatalf("answer % x, want % x", got, want)
	}
}
