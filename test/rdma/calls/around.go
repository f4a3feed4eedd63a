//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unprivileged becomes a program that is not root's, and may lock 64 KiB.
func unprivileged(args []string) error {
	const nobody, little = 65534, 64 << 10
	if len(args) == 0 {
		return errors.New("-unprivileged: no program")
	}
	limit := unix.Rlimit{Cur: little, Max: little}
	err := errors.Join(unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit), unix.Setgid(nobody), unix.Setuid(nobody), os.Setenv("HOME", "/"))
	if err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	return syscall.Exec(args[0], args, os.Environ())
}

// lives runs a program, and again when it was killed. It ends as the program does, or when
// that was killed as often as was said.
func lives(ctx context.Context, n int, args []string) error {
	if len(args) == 0 {
		return errors.New("-lives: no program")
	}
	for ; n > 0; n-- {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = time.Second
		err := cmd.Run()
		ended, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			return err
		}
		if status, is := ended.Sys().(syscall.WaitStatus); !is || !status.Signaled() || status.Signal() != syscall.SIGKILL {
			return err
		}
	}
	select { // who calls hears from this machine that there is nobody any more
	case <-time.After(afterlife):
	case <-ctx.Done():
	}
	return nil
}

// afterlife is how long the machine is there after the last server.
const afterlife = 8 * time.Second
