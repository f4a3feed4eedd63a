package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// WithParent returns a context that ends with ctx or with the parent process,
// for an agent that must not outlive it. stdin, if it is a pipe or a socket of
// which the parent holds the other end, tells its death even where a parent
// before it is gone already; nothing may be written to it. The kernel's handle
// on the parent (pidfd, Linux 5.3) tells it where stdin is something else. It
// is an error if neither can. The returned function ends the watch.
func WithParent(ctx context.Context, stdin *os.File) (context.Context, context.CancelFunc, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watched []*os.File
	if parent, err := parentHandle(); err == nil {
		watched = append(watched, parent)
		go func() { cancel(waitReadable(parent)) }()
	}
	if info, err := stdin.Stat(); err == nil && info.Mode().Type()&(os.ModeNamedPipe|os.ModeSocket) != 0 {
		pipe, err := duplicate(stdin)
		if err == nil {
			watched = append(watched, pipe)
			go func() {
				_, _ = io.Copy(io.Discard, pipe)
				cancel(errors.New("standard input ended"))
			}()
		}
	}
	stop := func() {
		cancel(context.Canceled)
		for _, f := range watched {
			_ = f.Close()
		}
	}
	if len(watched) == 0 {
		stop()
		return nil, nil, errors.New("the parent's death cannot be noticed: standard input is neither a pipe nor a socket, and the kernel has no pidfd")
	}
	return ctx, stop, nil
}

// parentHandle opens a pidfd of the parent.
func parentHandle() (*os.File, error) {
	pid := os.Getppid()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open pidfd of the parent: %w", err)
	}
	f := pollable(fd, "parent")
	if os.Getppid() != pid { // it died meanwhile
		return nil, errors.Join(errors.New("parent is gone"), f.Close())
	}
	return f, nil
}

// waitReadable waits until the process of a pidfd ends, and returns the reason to
// stop.
func waitReadable(f *os.File) error {
	if err := waitEnded(f); err != nil {
		return fmt.Errorf("watch the parent: %w", err)
	}
	return errors.New("the parent process ended")
}

// waitEnded waits until a pidfd becomes readable, that is until the process
// ends. It is an error if the descriptor is closed before.
func waitEnded(pidfd *os.File) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	return raw.Read(func(fd uintptr) bool { //nolint:wrapcheck // as above
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		return err != nil && !errors.Is(err, unix.EINTR) || n > 0
	})
}

// duplicate makes a pollable copy of a pipe's or a socket's descriptor.
func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", f.Name(), err)
	}
	return pollable(fd, f.Name()), nil
}
