//go:build linux

package main

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// death watches a process that is not ours die, and then vanish: what is between
// the two is how long its parent takes to notice and to take its end.
type death struct {
	pid    int
	pidfd  int
	result chan deathResult
}

type deathResult struct {
	took time.Duration
	err  error
}

// maxVanish bounds the wait for a parent that does not notice.
const maxVanish = 10 * time.Second

func watchDeath(pid int) (*death, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	d := &death{pid: pid, pidfd: fd, result: make(chan deathResult, 1)}
	go d.watch()
	return d, nil
}

func (d *death) watch() {
	runtime.LockOSThread() // the thread that is woken is the one that looks
	defer runtime.UnlockOSThread()
	defer unix.Close(d.pidfd) //nolint:errcheck // nothing was written
	fds := []unix.PollFd{{Fd: int32(d.pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(maxVanish.Milliseconds()))
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll(fds, int(maxVanish.Milliseconds()))
	}
	if err != nil || n == 0 {
		d.result <- deathResult{err: fmt.Errorf("process %d does not die: %w", d.pid, err)}
		return
	}
	const look = 20 * time.Microsecond
	for dead := time.Now(); ; {
		if syscall.Kill(d.pid, 0) != nil {
			d.result <- deathResult{took: time.Since(dead)}
			return
		}
		if time.Since(dead) > maxVanish {
			d.result <- deathResult{err: fmt.Errorf("process %d stays a zombie", d.pid)}
			return
		}
		pause := unix.NsecToTimespec(look.Nanoseconds())
		_ = unix.Nanosleep(&pause, nil)
	}
}
