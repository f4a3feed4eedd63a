//go:build linux

package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"rpcpool.dev/sidecar"
	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/workers/go/client"
)

// owner returns the processes that have a socket open.
func owners(inode string, pids []int) (out []int) {
	for _, pid := range pids {
		for _, fd := range openFDs(pid) {
			if strings.HasSuffix(fd, "socket:["+inode+"]") {
				out = append(out, pid)
				break
			}
		}
	}
	return out
}

func TestS0_10_OneMaster(t *testing.T) {
	t.Parallel()
	sessions := scaled(20, 10000)
	tr := startTracker(t)
	p := startServe(t, tr)
	listener := inodeOf(t, p.addr, "0.0.0.0:0")
	for i := range sessions {
		s := tr.open(client.Options{})
		if i%5 == 4 {
			_ = crash(t, s, "test.segfault")
		} else {
			checkAddOne(t, s)
		}
		closeOf(t, s)
		if i%max(1, sessions/20) > 0 {
			continue
		}
		if now := inodeOf(t, p.addr, "0.0.0.0:0"); now != listener {
			t.Fatalf("session %d: listening socket %s, was %s", i, now, listener)
		}
		all := append(descendants(p.Process.Pid), p.Process.Pid)
		if got := owners(listener, all); !slices.Equal(got, []int{p.Process.Pid}) {
			t.Fatalf("session %d: processes %v hold the listening socket, want the master %d alone", i, got, p.Process.Pid)
		}
	}
	tr.works()
}

// processIO returns the bytes that a process has read and written.
func processIO(t *testing.T, pid int) (total int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var n int
		for _, name := range []string{"rchar: %d", "wchar: %d"} {
			if _, err := fmt.Sscanf(line, name, &n); err == nil {
				total += n
			}
		}
	}
	return total
}

func TestS0_12_WorkerOwnsTheSocket(t *testing.T) {
	t.Parallel()
	const size = 16 << 20
	tr := startTracker(t)
	p := startServe(t, tr)
	s := tr.open(client.Options{})
	local, remote := s.NetConn().LocalAddr().String(), s.NetConn().RemoteAddr().String()
	worker := pidOf(t, s)
	if fd, _ := socketFD(t, worker, s); fd != "3" { // the very socket of the client's connection
		t.Errorf("the worker has it as descriptor %s", fd)
	}
	agents := named(p.Process.Pid, agentName)
	if len(agents) != 1 {
		t.Fatalf("agents: %v", agents)
	}
	master, agent := processIO(t, p.Process.Pid), processIO(t, agents[0])
	data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	if err := s.Upload(t.Context(), "blob", data); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Download(t.Context(), "blob"); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("download: %d bytes, %v", len(got), err)
	}
	master, agent = processIO(t, p.Process.Pid)-master, processIO(t, agents[0])-agent
	t.Logf("of 2 × %d bytes of session, master moved %d bytes and agent %d", size, master, agent)
	if master > size/16 || agent > size/16 {
		t.Errorf("master moved %d bytes, agent %d: the session goes through them", master, agent)
	}
	if l, r := s.NetConn().LocalAddr().String(), s.NetConn().RemoteAddr().String(); l != local || r != remote {
		t.Errorf("connection is %s-%s now, was %s-%s", l, r, local, remote)
	}
	if pidOf(t, s) != worker {
		t.Error("another worker answers")
	}
}

func TestS0_13_MalformedControlMessages(t *testing.T) {
	t.Parallel()
	t.Run("worker to agent", func(t *testing.T) {
		tr := startTracker(t)
		s := startServer(t, tr, command("-noise")).ready()
		agent := s.agentPID()
		for range 3 {
			tr.works()
		}
		if s.agentPID() != agent {
			t.Error("the agent did not survive")
		}
	})
	t.Run("agent to sidecar", func(t *testing.T) {
		tr := startTracker(t)
		s := startServer(t, tr, func(o *sidecar.Options) { // the real agent listens elsewhere
			o.AgentSocket = impostor(t, o.AgentSocket)
		}).ready()
		tr.works()
		if n := s.metric("rpcpool_agent_connections_total", key); n < 1 {
			t.Errorf("%v agents were connected", n)
		}
	})
}

// impostor listens where the sidecar looks for its agent. It says something
// else to each connection that the protocol has no room for; when it has said
// it all, it becomes the way to the real agent.
func impostor(t *testing.T, realAgent string) (socket string) {
	t.Helper()
	good, err := json.Marshal(supervise.Event{Kind: supervise.EventHello, Hello: &supervise.Hello{Version: supervise.ProtocolVersion}})
	if err != nil {
		t.Fatal(err)
	}
	says := [][]string{
		{""},
		{"\x00\xff\xfe garbage"},
		{`{"kind":"exited"}`},
		{`{"kind":"hello"}`},
		{`{"kind":"hello","hello":{"version":99}}`},
		{string(good), "garbage"},
		{string(good), `{"kind":"exited"}`, `{"kind":"exited","worker":"nobody"}`, `{"kind":"ready","worker":"nobody"}`, "]"},
		{string(good), `{"kind":"unkillable","worker":"nobody"}`, `{"kind":"started"}`, `{"kind":"dance"}`, `{"kind":7}`},
		{string(good), `{"kind":"exited","worker":"x","report":{"cause":"nonsense","code":-99999999,"signal":4096}}`, strings.Repeat("x", 150<<10)},
		{`{"kind":"hello","hello":{"version":1,"workers":[{"id":""},{"id":"../../etc","session":{"id":"","timeout":-1}}]}}`, "."},
	}
	socket = tempDir(t) + "/agent.sock"
	l, err := net.Listen("unixpacket", socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for _, messages := range says {
			c, err := l.Accept()
			if err != nil {
				return
			}
			for _, m := range messages {
				_, _ = c.Write([]byte(m))
			}
			_ = c.Close()
		}
		_ = l.Close() // and the socket's file with it
		_ = os.Symlink(realAgent, socket)
	}()
	t.Cleanup(func() { _ = l.Close() })
	return socket
}
