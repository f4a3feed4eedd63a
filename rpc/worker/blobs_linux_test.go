package worker

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWhatTheParentShouldNotSendIsClosed: a worker keeps no descriptor that it has no use for.
func TestWhatTheParentShouldNotSendIsClosed(t *testing.T) {
	for what, files := range map[string]int{
		"one that is no socket of blobs":    1,
		"two":                               2,
		"three, of which one finds no room": 3,
		"as many as fit into a message":     253,
	} {
		t.Run(what, func(t *testing.T) {
			parent, child := channel(t)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			fds := make([]int, files)
			for i := range fds {
				fds[i] = int(w.Fd())
			}
			if _, _, err := parent.WriteMsgUnix([]byte{7}, unix.UnixRights(fds...), nil); err != nil {
				t.Fatal(err)
			}
			_ = w.Close()
			if callee := attach(child); callee != nil {
				t.Errorf("it has joined %+v", callee)
			}
			first := make([]byte, 1)
			if _, err := io.ReadFull(child, first); err != nil || first[0] != 7 {
				t.Errorf("the channel's first byte is then %v, %v", first, err)
			}
			if err := r.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Read(first); !errors.Is(err, io.EOF) {
				t.Errorf("it has a descriptor left: %v", err)
			}
		})
	}
}

// channel makes both sides of one.
func channel(t *testing.T) (parent, child *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if parent, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = parent.Close() })
	if child, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Close() })
	return parent, child
}
