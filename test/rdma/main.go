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
	"runtime"
	"syscall"
	"time"

	"rpcpool.dev/test/internal/program"
	"rpcpool.dev/test/rdma/image"
	"rpcpool.dev/test/rdma/machine"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := program.Run(ctx, "rdma", &settings{}, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// settings are the flags.
type settings struct {
	cache, out string
	limit      time.Duration
	only       string
}

// Register implements [program.Settings].
func (o *settings) Register(flags *flag.FlagSet) {
	flags.StringVar(&o.cache, "cache", "", "`DIR` to keep the image in; default: rpcpool in the user's cache")
	flags.StringVar(&o.out, "out", "out/rdma", "`DIR` for the machines' consoles")
	flags.DurationVar(&o.limit, "limit", 5*time.Minute, "how long a machine may run")
	flags.StringVar(&o.only, "only", "", "`NAME` of the only scenario to play")
}

// Check implements [program.Settings].
func (o *settings) Check() error {
	if o.limit <= 0 {
		return errors.New("-limit must be positive")
	}
	return nil
}

// errFailed says that something has failed; which is printed already.
var errFailed = errors.New("not everything has succeeded")

// Run makes what is needed, and plays all scenarios.
func (o *settings) Run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	if err := possible(); err != nil {
		return err
	}
	if o.cache == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("cache: %w", err)
		}
		o.cache = filepath.Join(cache, "rpcpool")
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return fmt.Errorf("directory of the consoles: %w", err)
	}
	scratch, err := os.MkdirTemp("", "rpcpool-rdma-")
	if err != nil {
		return fmt.Errorf("scratch directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	boot, err := image.Get(ctx, o.cache, func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) })
	if err != nil {
		return err
	}
	files, err := programs(ctx, boot, scratch)
	if err != nil {
		return err
	}
	l := &lab{settings: o, image: boot, files: files, scratch: scratch, report: &report{out: stdout}}
	return l.play(ctx)
}

// possible says why this machine cannot do it.
func possible() error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("this runs on linux/amd64 only, not on linux/%s", runtime.GOARCH)
	}
	if _, err := exec.LookPath(machine.QEMU); err != nil {
		return fmt.Errorf("QEMU is missing, on Debian the package qemu-system-x86: %w", err)
	}
	return nil
}
