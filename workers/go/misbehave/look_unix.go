//go:build unix

package misbehave

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	worker "rpcpool.dev/workers/go"
)

func looking() map[string]any {
	return map[string]any{
		"test.pid":   os.Getpid,
		"test.env":   os.Getenv,
		"test.fds":   func() string { return strings.Join(inheritable(), ",") },
		"test.fsize": fileSize,
	}
}

// inheritable lists the descriptors that this process was given: all but those
// that are close-on-exec and no sockets, which the Go runtime opened itself (its
// poller and the like); such cannot have come from outside.
func inheritable() []string {
	var names []string
	for _, fd := range openDescriptors() {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil {
			continue
		}
		if flags&unix.FD_CLOEXEC == 0 || isSocket(fd) {
			names = append(names, strconv.Itoa(fd))
		}
	}
	return names
}

func isSocket(fd int) bool {
	_, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil
}

// openDescriptors lists every open descriptor but the one that it needs itself.
// It reads the directory by system calls: an os.File would make the runtime open
// its poller.
func openDescriptors() []int {
	dir, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(dir) //nolint:errcheck // read only
	var names []string
	for buf := make([]byte, 4<<10); ; {
		n, err := unix.ReadDirent(dir, buf)
		if n <= 0 || err != nil {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	var fds []int
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd != dir {
			fds = append(fds, fd)
		}
	}
	slices.Sort(fds)
	return fds
}

// fileSize writes a file of n bytes in the work directory and returns how many
// of them could be written.
func fileSize(s *worker.Session, n int64) (int64, error) {
	f, err := os.Create(filepath.Join(s.WorkDir(), "test.fsize"))
	if err != nil {
		return 0, fmt.Errorf("test.fsize: %w", err)
	}
	defer f.Close() //nolint:errcheck // what counts was written before
	var done int64
	for chunk := make([]byte, 64<<10); done < n; {
		m, err := f.Write(chunk[:min(int64(len(chunk)), n-done)])
		done += int64(m)
		if err != nil {
			return done, fmt.Errorf("test.fsize: after %d bytes: %w", done, err)
		}
	}
	return done, nil
}
