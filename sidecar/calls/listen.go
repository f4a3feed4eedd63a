package calls

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// unixMode is who may connect to a socket: the server's user and group.
const unixMode = 0o660

// listenUnix listens on a path, or on an abstract socket (@NAME). A socket that a
// server has left behind is taken over; one that somebody answers, or a file that is no
// socket, is an error.
func listenUnix(path string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && leftBehind(path) {
		if err = os.Remove(path); err == nil || errors.Is(err, fs.ErrNotExist) {
			l, err = new(net.ListenConfig).Listen(context.Background(), "unix", path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if strings.HasPrefix(path, "@") {
		return l, nil
	}
	if err := os.Chmod(path, unixMode); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), l.Close())
	}
	return l, nil
}

// leftBehind tells whether a path is a socket that nobody listens on.
func leftBehind(path string) bool {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	nc, err := (&net.Dialer{Timeout: time.Second}).Dial("unix", path)
	if err == nil {
		_ = nc.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
