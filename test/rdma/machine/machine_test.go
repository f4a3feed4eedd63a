//go:build linux

package machine

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/test/rdma/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// qemu puts a script in place of QEMU.
func qemu(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, QEMU), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// TestHowAMachineDid: only what the guest says counts, not how QEMU ends.
func TestHowAMachineDid(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"it has done its plan":     {script: "echo '@@ done'; exit 1"},
		"a step has failed":        {script: "echo '@@ failed pull: exit status 1'", want: "machine x: pull: exit status 1"},
		"the kernel has panicked":  {script: "echo 'Kernel panic'", want: "machine x: " + ErrSilent.Error()},
		"QEMU refuses its options": {script: "echo 'bad cpu' >&2; exit 1", want: "machine x: " + ErrSilent.Error() + ": exit status 1: bad cpu"},
	} {
		t.Run(name, func(t *testing.T) {
			qemu(t, c.script)
			err := Run(t.Context(), Machine{Name: "x", Log: io.Discard, Each: func(plan.Line) {}})
			if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAMachineThatHangsIsKilledInTime(t *testing.T) {
	qemu(t, "echo '@@ begin forever'; exec sleep 1000")
	ctx, cancel := context.WithCancelCause(t.Context())
	late := errors.New("too late")
	var log strings.Builder
	var lines []plan.Line
	err := Run(ctx, Machine{Name: "x", Log: &log, Each: func(l plan.Line) {
		lines = append(lines, l)
		cancel(late)
	}})
	if !errors.Is(err, late) {
		t.Error(err)
	}
	if want := []plan.Line{{Kind: plan.Begin, Text: "forever"}}; !slices.Equal(lines, want) {
		t.Errorf("%+v", lines)
	}
	if !strings.HasSuffix(log.String(), " @@ begin forever\n") {
		t.Errorf("log: %q", log.String())
	}
}

// TestOneEndOfACableIsTheOthers: what one machine sends the other one gets, and sees its end.
func TestOneEndOfACableIsTheOthers(t *testing.T) {
	qemu(t, `for a; do case $a in socket,*) echo "$a" >&3;; esac; done; echo '@@ done'`)
	a, b, err := Cable()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := Run(t.Context(), Machine{Name: "x", Cable: a, Log: io.Discard, Each: func(plan.Line) {}}); err != nil {
		t.Fatal(err)
	}
	if err := b.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil && !errors.Is(err, os.ErrNoDeadline) {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(b); err != nil || string(said) != "socket,id=cable,fd=3\n" {
		t.Errorf("%q, %v", said, err)
	}
}
