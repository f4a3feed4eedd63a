package agent

import (
	"crypto/rand"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

// notifier receives what a worker says by sd_notify(3): datagrams of lines
// NAME=VALUE to the socket that NOTIFY_SOCKET names. Each worker has one of its
// own, so that one which floods its socket holds up nobody else. The address is
// abstract: there is no file to remove. The nil notifier is none.
type notifier struct {
	conn    *net.UnixConn
	address string // as in NOTIFY_SOCKET
}

// notice is one datagram, as far as it means anything here.
type notice struct {
	ready  bool
	beat   bool
	trip   bool
	extend *time.Duration
	phase  *supervise.Phase
}

// Names in a datagram. X_ is what sd_notify leaves to others.
const (
	notifyReady  = "READY"
	notifyBeat   = "WATCHDOG"
	notifyExtend = "EXTEND_TIMEOUT_USEC"
	notifyPhase  = "X_RPCPOOL_PHASE"
)

// maxNotice bounds a datagram, in bytes; the rest is cut off.
const maxNotice = 4 << 10

func newNotifier() (*notifier, error) {
	address := "@rpcpool-notify-" + rand.Text()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("notification socket: %w", err)
	}
	n := &notifier{conn: conn, address: address}
	if err := n.wantSender(); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

// wantSender has the kernel say who sent each datagram.
func (n *notifier) wantSender() error {
	raw, err := n.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("notification socket: %w", err)
	}
	var optErr error
	err = raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	})
	if err == nil {
		err = optErr
	}
	if err != nil {
		return fmt.Errorf("notification socket: %w", err)
	}
	return nil
}

// receive passes on what the process pid says, until close. What its children
// say does not count: the heartbeat is that of the worker's own loop.
func (n *notifier) receive(pid int, heard func(notice)) {
	buf, oob := make([]byte, maxNotice), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	for {
		size, oobn, _, _, err := n.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		if sender(oob[:oobn]) != pid {
			continue
		}
		if notice, ok := parseNotice(string(buf[:size])); ok {
			heard(notice)
		}
	}
}

func (n *notifier) close() {
	if n != nil {
		_ = n.conn.Close()
	}
}

// sender takes the pid out of a control message; 0 if there is none.
func sender(oob []byte) int {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	pid := 0
	for i := range messages {
		if cred, err := syscall.ParseUnixCredentials(&messages[i]); err == nil {
			pid = int(cred.Pid)
			continue
		}
		// Descriptors that somebody sent along are not wanted.
		fds, _ := syscall.ParseUnixRights(&messages[i])
		for _, fd := range fds {
			closeFD(fd)
		}
	}
	return pid
}

// parseNotice reads a datagram; ok is false if there is nothing in it for us.
func parseNotice(text string) (n notice, ok bool) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch name {
		case notifyReady:
			n.ready = value == "1"
		case notifyBeat:
			n.beat, n.trip = value == "1", value == "trigger"
		case notifyExtend:
			if usec, err := strconv.ParseUint(value, 10, 63); err == nil {
				d := time.Duration(min(usec, uint64(maxExtension.Microseconds()))) * time.Microsecond
				n.extend = &d
			}
		case notifyPhase:
			p := supervise.Phase(value)
			n.phase = &p
		}
	}
	return n, n.ready || n.beat || n.trip || n.extend != nil || n.phase != nil
}

// maxExtension bounds what a worker may ask for at once.
const maxExtension = 24 * time.Hour
