package kubetest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Suite is the server that the tests of a package share. It is started when the
// first of them asks for it.
type Suite struct {
	mu     sync.Mutex
	tried  bool
	server *Server
	err    error
}

// NewSuite returns a suite. It starts nothing.
func NewSuite() *Suite { return &Suite{} }

// Main is a package's TestMain: it runs the tests, stops the server, fails if a
// goroutine is left, and does not return. Call log.SetLogger of
// controller-runtime before, if its log is wanted.
func (s *Suite) Main(m *testing.M) {
	log.SetLogger(logr.Discard()) // or it complains; the first call counts
	code := m.Run()
	if s.server != nil {
		if err := s.server.Stop(); err != nil {
			fmt.Fprintf(os.Stderr, "kubetest: %v\n", err)
			code = max(code, 1)
		}
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintf(os.Stderr, "kubetest: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Server returns the server. The test fails if it cannot be started.
func (s *Suite) Server(t testing.TB) *Server {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tried {
		s.tried = true
		s.server, s.err = Start()
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.server
}

// Namespace makes a namespace for a test, named after it, and removes it in the
// end.
func (s *Server) Namespace(t testing.TB) string {
	t.Helper()
	namespace, err := s.CreateNamespace(t.Context(), prefix(t.Name()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.RemoveNamespace(context.Background(), namespace); err != nil {
			t.Error(err)
		}
	})
	return namespace
}

// prefix makes the beginning of a namespace's name of a test's.
func prefix(name string) string {
	const most = 40
	var b strings.Builder
	for _, r := range strings.ToLower(strings.TrimPrefix(name, "Test")) {
		switch {
		case b.Len() == most:
			return b.String()
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		}
	}
	return "t" + b.String()
}

// ControllerManager runs Kubernetes' controllers until the test ends.
func (s *Server) ControllerManager(t testing.TB, o ControllerManagerOptions) *ControllerManager {
	t.Helper()
	m, err := s.StartControllerManager(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// Kubelet simulates nodes until the test ends.
func (s *Server) Kubelet(t testing.TB, o KubeletOptions) *Kubelet {
	t.Helper()
	k, err := s.StartKubelet(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// Eventually waits until check returns nil, and fails the test with its last
// error if that does not happen in time.
func Eventually(t testing.TB, within time.Duration, check func(context.Context) error) {
	t.Helper()
	if err := Poll(t.Context(), within, check); err != nil {
		t.Fatal(err)
	}
}

// Poll calls check until it returns nil. After the given time, or when ctx
// ends, it returns check's last error.
func Poll(ctx context.Context, within time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	const pause = 25 * time.Millisecond
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // that time is up is no news
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", within, last)
		case <-tick.C:
		}
	}
}
