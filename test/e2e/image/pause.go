//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// pause is what a pod's sandbox runs. As PID 1 of a pod whose containers share
// their process ids it is the parent of orphans, and takes note of their end.
func pause(ctx context.Context) error {
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)
	for {
		// First of all: children may have ended before anybody was notified.
		reap()
		select {
		case <-children:
		case <-ctx.Done():
			return nil
		}
	}
}

// reap takes note of every child that has ended.
func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if pid <= 0 && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
