//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rpcpool.dev/internal/kubetest"
	"rpcpool.dev/test/internal/program"
	"rpcpool.dev/tracker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func pod(n int) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("board-%d", n), UID: types.UID(fmt.Sprintf("uid-%d", n))}}
}

func TestServersOfAFleetServeSessionsUntilTheirPodsGo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, ended := tracker.NewServer(tracker.Options{}), make(chan error, 1)
	go func() { ended <- server.Serve(t.Context(), listener) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	f := newFleet(t.Context())
	defer f.close()
	const pods = 3
	for i := range pods {
		f.running(pod(i))
		f.running(pod(i)) // its status was written again
	}
	f.open(listener.Addr().String(), "board")
	l := &lab{
		settings: &settings{sessions: 50, clients: 7, session: time.Millisecond},
		report:   &report{}, progress: io.Discard, fleet: f,
	}
	if err := l.serveAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range pods {
		f.deleting(pod(i))
	}
	kubetest.Eventually(t, time.Minute, func(_ context.Context) error {
		if n := len(server.Summary().Servers); n > 0 {
			return fmt.Errorf("%d servers are still there", n)
		}
		return nil
	})
	if err := f.admit("board:uid-0.1", visit{}); !errors.Is(err, errTicket) {
		t.Errorf("a ticket that was used: %v", err)
	}
	if n := f.failures.Load(); n != 0 {
		t.Errorf("%d connections failed", n)
	}
}

func TestAReportSaysWhatMissesItsTarget(t *testing.T) {
	r := &report{}
	r.add("pods", count, 12, "")
	r.limited("memory", mebi, 130, 120, "much")
	r.limited("writes", rate, 1, 1, "")
	var out bytes.Buffer
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"memory  130 MiB  ≤ 120 MiB  NO   much", "writes  1/s      ≤ 1/s      yes"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
	if r.missed() != 1 {
		t.Errorf("%d missed", r.missed())
	}
}

func TestRequestsAreCountedByKind(t *testing.T) {
	got := kinds([]kubetest.Request{
		{Verb: "create", Resource: "pods"}, {Verb: "patch", Resource: "rpcpools/status"}, {Verb: "create", Resource: "pods"}, {Verb: "create", Resource: "events"},
	})
	if want := "2 create pods, 1 create events, 1 patch rpcpools/status"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestBadFlagsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-pods", "0"}, {"-pods", "many"}, {"pool"}} {
		var errors bytes.Buffer
		if status := run(t.Context(), args, io.Discard, &errors); status != program.Usage || errors.Len() == 0 {
			t.Errorf("%q: status %d, %s", args, status, errors.String())
		}
	}
}

// TestAllOfItAtASmallSize runs the whole program; the figures are not judged.
func TestAllOfItAtASmallSize(t *testing.T) {
	file := filepath.Join(t.TempDir(), "figures.json")
	var out, errors bytes.Buffer
	status := run(t.Context(), []string{
		"-pods", "20", "-large", "30", "-sessions", "200", "-clients", "10", "-session", "10ms", "-quiet", "2s", "-json", file,
	}, &out, &errors)
	if status != program.OK {
		t.Fatalf("status %d\n%s%s", status, errors.String(), out.String())
	}
	for _, want := range []string{"pool of 20 ready", "Deployment of 20 ready", "writes in 2s of nothing", "200 sessions over", "memory with 30 pods"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
	t.Log(out.String())
}
