package tracker

import (
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestConnectionsFitTheDescriptors(t *testing.T) {
	for name, tc := range map[string]struct{ wanted, descriptors, want int }{
		"enough":                {16384, 20000, 16384},
		"just enough":           {16384, 16384 + reservedDescriptors, 16384},
		"one too few":           {16384, 16383 + reservedDescriptors, 16383},
		"a shell's default":     {16384, 1024, 1024 - reservedDescriptors},
		"fewer than we reserve": {16384, 20, 10},
		"hardly any":            {16384, 1, 1},
		"none":                  {16384, 0, 1},
		"not many wanted":       {2, 1024, 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := affordable(tc.wanted, tc.descriptors); got != tc.want {
				t.Errorf("%d connections, want %d", got, tc.want)
			}
		})
	}
}

func TestFewDescriptorsBoundTheConnections(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	few := before
	few.Cur = 200
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}()
	var log safeBuffer
	h := start(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	h.join().wantOpen()
	h.join().wantOpen()
	h.stop()
	if got, want := h.options.MaxConns, int(few.Cur)-reservedDescriptors; got != want {
		t.Errorf("up to %d connections, want %d", got, want)
	}
	if n := strings.Count(log.String(), "limit of open files"); n != 1 {
		t.Errorf("%d lines about the limit, want 1:\n%s", n, log.String())
	}
}
