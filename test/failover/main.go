//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
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
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// settings are the flags.
type settings struct {
	kills, stops, freezes int
	devices, clients      int
	seed                  uint64
	lease, renew, retry   time.Duration
	settle                time.Duration
	bin, json             string
	limit                 time.Duration
	keep                  bool
}

// Register implements [program.Settings].
func (o *settings) Register(flags *flag.FlagSet) {
	flags.IntVar(&o.kills, "kills", 50, "`number` of leaders to kill")
	flags.IntVar(&o.stops, "stops", 8, "`number` of leaders to stop in order")
	flags.IntVar(&o.freezes, "freezes", 4, "`number` of leaders to freeze until another one leads")
	flags.IntVar(&o.devices, "devices", 8, "`number` of devices")
	flags.IntVar(&o.clients, "clients", 24, "`number` of clients")
	flags.Uint64Var(&o.seed, "seed", rand.Uint64N(1<<32), "`SEED` of what is done, when, and of the sessions' lengths") //nolint:gosec // it is printed
	flags.DurationVar(&o.lease, "lease", 3*time.Second, "the operators' --leader-elect-lease-duration")
	flags.DurationVar(&o.renew, "renew", 1500*time.Millisecond, "the operators' --leader-elect-renew-deadline")
	flags.DurationVar(&o.retry, "retry", 300*time.Millisecond, "the operators' --leader-elect-retry-period")
	flags.DurationVar(&o.settle, "settle", 2*time.Second, "the operators' --tracker-settle")
	flags.StringVar(&o.bin, "bin", "", "`DIR` of the programs; default: they are built")
	flags.StringVar(&o.json, "json", "", "`FILE` to write the result to as JSON")
	flags.DurationVar(&o.limit, "limit", 20*time.Minute, "give up after so long")
	flags.BoolVar(&o.keep, "keep", false, "keep the logs")
}

// Check implements [program.Settings].
func (o *settings) Check() error {
	total := o.kills + o.stops + o.freezes
	switch {
	case o.kills < 0 || o.stops < 0 || o.freezes < 0 || total == 0 || total+2 > maxOperators:
		return fmt.Errorf("-kills, -stops and -freezes: want 1 to %d in all", maxOperators-2)
	case o.devices < 1 || o.clients < 1:
		return errors.New("-devices and -clients: want 1 or more")
	case o.limit <= 0 || o.settle < 0:
		return errors.New("-limit must be positive, -settle not negative")
	}
	return nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	log.SetLogger(logr.Discard())
	return program.Run(ctx, "failover", &settings{}, args, stdout, stderr)
}

// errBroken says that promises were broken; which is printed already.
var errBroken = errors.New("promises were broken")

// Run does everything, and prints what came of it.
func (o *settings) Run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	if err := proc.AdoptOrphans(); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "rpcpool-failover-")
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
	programs, err := o.programs(ctx, scratch)
	if err != nil {
		return err
	}
	l, err := newLab(ctx, o, programs, scratch, stderr)
	if err != nil {
		return err
	}
	err = l.scenario(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = errors.Join(fmt.Errorf("not done within -limit %s", o.limit), err)
	}
	if err = errors.Join(err, l.close()); err != nil {
		return fmt.Errorf("seed %d: %w", o.seed, err)
	}
	l.facts.left = leftovers()
	return o.publish(stdout, check(l.facts))
}

// programs returns the directory of the programs.
func (o *settings) programs(ctx context.Context, scratch string) (string, error) {
	if o.bin != "" {
		missing, err := proc.MissingPrograms(o.bin)
		if err == nil && len(missing) > 0 {
			err = fmt.Errorf("%s has no %v: run make build", o.bin, missing)
		}
		if err == nil {
			_, err = os.Stat(filepath.Join(o.bin, manager))
		}
		if err != nil {
			return "", err
		}
		return filepath.Abs(o.bin)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", filepath.Join(scratch, manager), "rpcpool.dev/cmd/manager")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", manager, err, text)
	}
	return proc.FindPrograms(ctx, scratch, scratch)
}

// manager is the operator's program, as `make build` names it.
const manager = "rpcpool-manager"
