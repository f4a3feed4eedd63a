//go:build linux

package conformance

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/sidecar"
	"rpcpool.dev/tracker"
)

// patience bounds every wait for something that must happen: far more than it
// takes on a loaded machine, so that only a real failure gets there.
const patience = 30 * time.Second

// slack is what a machine that is busy with other tests may add to a time.
const slack = time.Second

// limit is the session timeout of tests that run into it: long enough for what
// they do before, short enough to wait for.
const limit = 3 * time.Second

// key is the device key of every test.
const key = "dev"

// trackerProc is a tracker that can be stopped and started again at its address.
type trackerProc struct {
	*tracker.Server
	t       testing.TB
	addr    string
	options tracker.Options
	stop    func()
}

func startTracker(t testing.TB) *trackerProc {
	t.Helper()
	return startTrackerWith(t, "127.0.0.1:0", tracker.Options{})
}

func startTrackerWith(t testing.TB, addr string, o tracker.Options) *trackerProc {
	t.Helper()
	p := &trackerProc{t: t, addr: addr, options: o}
	p.start()
	t.Cleanup(func() { p.stop() })
	return p
}

// start listens, where it listened before if there was a before.
func (p *trackerProc) start() {
	p.t.Helper()
	var l net.Listener
	eventually(p.t, patience, "tracker's address is free", func() bool {
		var err error
		l, err = tcp.Listen(p.addr)
		return err == nil
	})
	p.Server, p.addr = tracker.NewServer(p.options), l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func(s *tracker.Server) { done <- s.Serve(ctx, l) }(p.Server)
	p.stop = func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("tracker: %v", err)
		}
		p.stop = func() {}
	}
}

// server is one device: a sidecar here, its agent and workers elsewhere.
type server struct {
	*sidecar.Server
	t        testing.TB
	tracker  *trackerProc // nil: direct mode
	addr     string
	dir      string
	log      *recorder
	registry *prometheus.Registry
	stop     func() // drains, and waits for the end
}

// startServer starts a server with one warm worker and short graces; adjust
// changes its options. It is stopped, and checked for what it leaves behind,
// when the test ends.
func startServer(t testing.TB, tr *trackerProc, adjust ...func(*sidecar.Options)) *server {
	t.Helper()
	return startServerAt(t, tr, tempDir(t), "", adjust...)
}

// startServerOn starts a server whose work directories are below dir.
func startServerOn(t testing.TB, tr *trackerProc, dir string, adjust ...func(*sidecar.Options)) *server {
	t.Helper()
	return startServerAt(t, tr, dir, "", adjust...)
}

// startServerIn starts a server whose agent and workers are in a control group.
func startServerIn(t testing.TB, tr *trackerProc, group string, adjust ...func(*sidecar.Options)) *server {
	t.Helper()
	return startServerAt(t, tr, tempDir(t), group, adjust...)
}

func startServerAt(t testing.TB, tr *trackerProc, dir, group string, adjust ...func(*sidecar.Options)) *server {
	t.Helper()
	s := &server{t: t, tracker: tr, dir: dir, log: newRecorder(), registry: prometheus.NewRegistry()}
	agent := sidecar.AgentOptions{Path: agentPath, Dir: s.dir, Logger: slog.New(s.log)}
	if group != "" {
		agent.Path = filepath.Join(s.dir, "agent-in-group")
		script := fmt.Sprintf("#!/bin/sh\necho $$ > %s/cgroup.procs && exec %s \"$@\"\n", group, agentPath)
		if err := os.WriteFile(agent.Path, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	o := s.options(agent.Socket())
	for _, f := range adjust {
		f(&o)
	}
	if o.Listener == nil {
		l, err := tcp.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		o.Listener = l
	}
	srv, err := sidecar.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Server, s.addr = srv, srv.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sidecar.RunWithAgent(ctx, srv, agent) }()
	s.stop = func() {
		s.stop = func() {}
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("server: %v", err)
			}
			s.checkClean()
		case <-time.After(2 * patience):
			t.Errorf("server %s does not stop", s.addr)
		}
	}
	t.Cleanup(func() {
		s.stop()
		s.log.dump(t)
	})
	return s
}

func (s *server) options(agentSocket string) sidecar.Options {
	o := sidecar.Options{
		Key: key, AgentSocket: agentSocket, Command: []string{workerPath}, Warm: 1,
		KillGrace: 500 * time.Millisecond, Logger: slog.New(s.log),
	}
	if s.tracker != nil {
		o.Tracker = s.tracker.addr
	}
	o.SessionTimeout.Default, o.SessionTimeout.Max = time.Minute, 5*time.Minute
	var err error
	if o.Metrics, err = sidecar.NewMetrics(s.registry); err != nil {
		s.t.Fatal(err)
	}
	return o
}

// cold has the workers started when a session begins.
func cold(o *sidecar.Options) { o.Warm = 0 }

// command appends arguments to the worker's command.
func command(args ...string) func(*sidecar.Options) {
	return func(o *sidecar.Options) { o.Command = append([]string{workerPath}, args...) }
}

// tempDir is like T.TempDir, with a path short enough for a Unix socket.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// workDirs returns the work directories that exist.
func (s *server) workDirs() []string {
	entries, err := os.ReadDir(filepath.Join(s.dir, "work"))
	if err != nil && !os.IsNotExist(err) {
		s.t.Error(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// checkClean checks that a server that has ended left no work directory.
// Processes and descriptors are counted when all tests are done.
func (s *server) checkClean() {
	if left := s.workDirs(); len(left) > 0 {
		s.t.Errorf("work directories left behind: %q", left)
	}
}

// agentPID returns the pid of this server's agent, whose socket is in the
// server's directory. Its guard, our child, has another name.
func (s *server) agentPID() int {
	s.t.Helper()
	pid, ok := s.findAgent()
	if !ok {
		s.t.Fatal("no agent")
	}
	return pid
}

func (s *server) findAgent() (pid int, ok bool) {
	for _, pid := range named(os.Getpid(), agentName) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if containsArg(b, filepath.Join(s.dir, "agent.sock")) {
			return pid, true
		}
	}
	return 0, false
}

// state is what the tracker knows of the server.
func (s *server) state() string {
	for _, info := range s.tracker.Summary().Servers {
		if host, port := info.Addr(); net.JoinHostPort(host, port) == s.addr {
			return info.State()
		}
	}
	return "absent"
}

// waitState waits until the tracker shows the server in a state.
func (s *server) waitState(state string) {
	s.t.Helper()
	eventually(s.t, patience, s.addr+" is "+state, func() bool { return s.state() == state })
}

// ready waits until the device can be used.
func (s *server) ready() *server {
	s.t.Helper()
	if s.tracker != nil {
		s.waitState("free")
	} else {
		eventually(s.t, patience, "device is free", func() bool { return s.Ready() == nil })
	}
	return s
}

// metric returns the sum of all series of a metric that have a label value.
func (s *server) metric(name, value string) float64 {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == value {
					sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
	}
	return sum
}
