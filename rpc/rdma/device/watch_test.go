package device

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestADriverThatHangsIsToldAbout(t *testing.T) {
	release := make(chan struct{})
	told := make(chan Reason, 10)
	w := Watch{
		Check:  func() Report { <-release; return Report{Reason: DevicesReady} },
		Tell:   func(r Report) { told <- r.Reason },
		Period: time.Hour, Patience: time.Millisecond,
	}
	var done sync.WaitGroup
	done.Go(func() { w.Run(t.Context()) })
	if got := <-told; got != NoAnswer {
		t.Errorf("told %s", got)
	}
	close(release)
	if got := <-told; got != DevicesReady {
		t.Errorf("then %s", got)
	}
	t.Cleanup(done.Wait) // the test's context has ended by then
}

// TestNewsAreALook: long before the period is over, and not one for each.
func TestNewsAreALook(t *testing.T) {
	news, told := make(chan struct{}, 1), make(chan struct{})
	for name, w := range map[string]Watch{"of the system": {News: news}, "of the device itself": {Told: news}} {
		t.Run(name, func(t *testing.T) {
			w.Check, w.Tell, w.Period = func() Report { return Report{} }, func(Report) { told <- struct{}{} }, time.Hour
			ctx, cancel := context.WithCancel(t.Context())
			var done sync.WaitGroup
			done.Go(func() { w.Run(ctx) })
			for range 3 {
				<-told
				news <- struct{}{}
			}
			<-told
			cancel()
			done.Wait()
		})
	}
}

// TestTheKernelTells: of an address that comes, and of a link that goes down, in a
// network namespace of the test's own.
func TestTheKernelTells(t *testing.T) {
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	news, err := News(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"link set lo up", "address add 10.9.8.7/32 dev lo", "link set lo down"} {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(change)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v: %s", change, err, out)
		}
		<-news
	}
}

// TestAPromiseIsWatched: what is told is what is so, at once.
func TestAPromiseIsWatched(t *testing.T) {
	m := newMachine(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got Report
	p := Promise{Mode: Auto, Want: Want{Resource: resource, Count: 1}, Host: m.host}
	p.Watch(ctx, slog.New(slog.NewTextHandler(io.Discard, nil)), nil, func(r Report) { got = r; cancel() })
	if got.Reason != DevicesReady {
		t.Errorf("%s: %s", got.Reason, got.Message)
	}
}

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{
		"":                        "",
		"--rdma-mode=Required":    "",
		"--rdma-mode=on":          `--rdma-mode: "on": want off, auto or required`,
		"--rdma-count=0":          "--rdma-count: 0 is not between 1 and 64",
		"--rdma-count=65":         "--rdma-count: 65 is not between 1 and 64",
		"--rdma-resource=a\x1bb":  `--rdma-resource: "a\x1bb" has characters that cannot be printed`,
		"--rdma-network-status=x": "",
	} {
		var f Flags
		set := flag.NewFlagSet("", flag.ContinueOnError)
		f.Register(set)
		if err := set.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		p, err := f.Promise()
		switch {
		case want != "" && (err == nil || err.Error() != want):
			t.Errorf("%s: %v, want %s", args, err, want)
		case want == "" && (err != nil || p.Mode.On() != (args == "--rdma-mode=Required") || p.Count != 1):
			t.Errorf("%s: %+v, %v", args, p, err)
		}
	}
}
