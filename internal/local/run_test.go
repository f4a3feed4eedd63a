package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/internal/freeports"
	"rpcpool.dev/internal/manifest"
)

// fakeParts accept and close connections, and record when they end.
type fakeParts struct {
	mu     sync.Mutex
	ended  []string
	broken string // name of the part that fails at once
}

func (f *fakeParts) RunTracker(ctx context.Context, t Tracker, l *net.TCPListener) error {
	return f.run(ctx, t.Name, l)
}

func (f *fakeParts) RunServer(ctx context.Context, s Server, l *net.TCPListener) error {
	return f.run(ctx, s.Name, l)
}

func (f *fakeParts) run(ctx context.Context, name string, l *net.TCPListener) error {
	defer func() {
		_ = l.Close()
		f.mu.Lock()
		f.ended = append(f.ended, name)
		f.mu.Unlock()
	}()
	if name == f.broken {
		return errors.New("broken")
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, name)
			_ = c.Close()
		}
	}()
	<-ctx.Done()
	return ctx.Err()
}

// freePlan is a plan of one tracker and n servers on ports that are free now.
func freePlan(t *testing.T, n int) Plan {
	t.Helper()
	source := manifest.Source{File: "p.yaml", Document: 2}
	first, err := freeports.Row(n + 1)
	if err != nil {
		t.Fatal(err)
	}
	at := func(port int) string { return net.JoinHostPort(Host, strconv.Itoa(port)) }
	p := Plan{Trackers: []Tracker{{Name: "tracker", Address: at(first), source: source}}}
	for i := range n {
		p.Servers = append(p.Servers, Server{Name: fmt.Sprint("server-", i), Address: at(first + 1 + i), source: source})
	}
	return p
}

func TestRunServesUntilItIsStopped(t *testing.T) {
	p := freePlan(t, 3)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	parts := &fakeParts{}
	started := make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, p, parts, func() { close(started) }) }()
	<-started
	expect := func(address, want string) {
		t.Helper()
		c, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got, err := io.ReadAll(c); err != nil || string(got) != want {
			t.Errorf("%s answered %q, %v; want %q", address, got, err, want)
		}
	}
	expect(p.Trackers[0].Address, "tracker")
	for _, s := range p.Servers {
		expect(s.Address, s.Name)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("stopped with %v", err)
	}
	if n := len(parts.ended); n != 4 || parts.ended[3] != "tracker" {
		t.Errorf("ended in the order %v, want the tracker last", parts.ended)
	}
	for _, s := range p.Servers {
		if c, err := net.Dial("tcp", s.Address); err == nil {
			_ = c.Close()
			t.Errorf("%s still listens", s.Address)
		}
	}
}

func TestRunStopsEverythingWhenAPartFails(t *testing.T) {
	for _, broken := range []string{"tracker", "server-1"} {
		t.Run(broken, func(t *testing.T) {
			parts := &fakeParts{broken: broken}
			err := Run(context.Background(), freePlan(t, 2), parts, func() {})
			if err == nil || !strings.Contains(err.Error(), broken) || !strings.HasSuffix(err.Error(), ": broken") {
				t.Errorf("got %v, want the part and its error", err)
			}
			if len(parts.ended) != 3 {
				t.Errorf("only %v ended", parts.ended)
			}
		})
	}
}

func TestRunNamesEveryPortInUseAndStartsNothing(t *testing.T) {
	p := freePlan(t, 3)
	for _, address := range []string{p.Trackers[0].Address, p.Servers[1].Address} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	parts := &fakeParts{}
	err := Run(context.Background(), p, parts, func() { t.Error("started") })
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	want := []string{
		"p.yaml: document 2: spec.tracker.port: listen on " + p.Trackers[0].Address,
		"p.yaml: document 2: spec.server.port: listen on " + p.Servers[1].Address,
	}
	if len(lines) != len(want) {
		t.Fatalf("lines %q", lines)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) || !strings.Contains(lines[i], "address already in use") {
			t.Errorf("line %q, want %q and why", lines[i], want[i])
		}
	}
	if len(parts.ended) != 0 {
		t.Errorf("%v ran", parts.ended)
	}
	// What had been bound was given back.
	for _, address := range []string{p.Servers[0].Address, p.Servers[2].Address} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("still bound: %v", err)
			continue
		}
		_ = l.Close()
	}
}
