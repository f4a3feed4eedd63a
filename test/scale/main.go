//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"rpcpool.dev/test/internal/proc"
	"rpcpool.dev/test/internal/program"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// settings are the flags.
type settings struct {
	manager  string
	pods     int
	large    int
	sessions int
	clients  int
	session  time.Duration
	quiet    time.Duration
	limit    time.Duration
	json     string
	strict   bool
	keep     bool
}

// Register implements [program.Settings].
func (o *settings) Register(flags *flag.FlagSet) {
	flags.StringVar(&o.manager, "manager", "", "`FILE` of rpcpool-manager; default: it is built")
	flags.IntVar(&o.pods, "pods", 1000, "pods of the pool, and of the Deployment beside it")
	flags.IntVar(&o.large, "large", 5000, "pods when the operator's memory is measured")
	flags.IntVar(&o.sessions, "sessions", 10000, "sessions to run")
	flags.IntVar(&o.clients, "clients", 100, "clients at a time")
	flags.DurationVar(&o.session, "session", 100*time.Millisecond, "length of a session, on average")
	flags.DurationVar(&o.quiet, "quiet", time.Minute, "how long nothing happens in the steady state")
	flags.DurationVar(&o.limit, "limit", 20*time.Minute, "give up after so long")
	flags.StringVar(&o.json, "json", "", "`FILE` to write the figures to as JSON")
	flags.BoolVar(&o.strict, "strict", false, "fail if a figure misses its target")
	flags.BoolVar(&o.keep, "keep", false, "keep the operator's log")
}

// Check implements [program.Settings].
func (o *settings) Check() error {
	for name, n := range map[string]int{"pods": o.pods, "large": o.large, "sessions": o.sessions, "clients": o.clients} {
		if n < 1 {
			return fmt.Errorf("-%s: %d: want at least 1", name, n)
		}
	}
	return nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	log.SetLogger(logr.Discard())
	return program.Run(ctx, "scale", &settings{}, args, stdout, stderr)
}

// Run runs everything and prints what was measured, also if something
// fails on the way.
func (o *settings) Run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	if _, err := proc.RaiseFileLimit(); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "rpcpool-scale-")
	if err != nil {
		return fmt.Errorf("scratch directory: %w", err)
	}
	defer func() {
		if o.keep {
			fmt.Fprintf(stderr, "logs are in %s\n", scratch)
			return
		}
		err = errors.Join(err, os.RemoveAll(scratch))
	}()
	if o.manager == "" {
		if o.manager, err = buildManager(ctx, scratch); err != nil {
			return err
		}
	}
	r := &report{}
	l, err := newLab(ctx, o, scratch, r, stderr)
	if err != nil {
		return err
	}
	err = errors.Join(l.scenarios(ctx), l.close())
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = errors.Join(fmt.Errorf("not done within -limit %s", o.limit), err)
	}
	err = errors.Join(err, r.print(stdout))
	if o.json != "" {
		err = errors.Join(err, r.write(o.json))
	}
	if n := r.missed(); n > 0 && o.strict {
		err = errors.Join(err, fmt.Errorf("%d figures miss their targets", n))
	}
	return err
}

// buildManager builds the operator from the module that we are run in.
func buildManager(ctx context.Context, dir string) (string, error) {
	out := filepath.Join(dir, "rpcpool-manager")
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", out, "rpcpool.dev/cmd/manager")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build rpcpool-manager: %w\n%s", err, text)
	}
	return out, nil
}
