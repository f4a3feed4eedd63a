package conn

import (
	"crypto/tls"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/socket"
)

// TestTheKernelTakesLittleAheadOfTheNetwork, with TLS and without: what is more urgent waits behind no more than that.
func TestTheKernelTakesLittleAheadOfTheNetwork(t *testing.T) {
	a, b := sockets(t, "tcp")
	defer a.Close()
	defer b.Close()
	Tune(a)
	Tune(tls.Client(b, &tls.Config{MinVersion: tls.VersionTLS13}))
	for i, nc := range []net.Conn{a, b} {
		raw, err := nc.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			if n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); err != nil || n != unsentMark {
				t.Errorf("socket %d: %d bytes, %v; want %d", i, n, err, unsentMark)
			}
		}); err != nil {
			t.Error(err)
		}
	}
}

func TestSocketsAreWaitedForOutsideOfTheRuntimesPoller(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		a, b := sockets(t, network)
		client, server := join(t, a, b, newCaller(), &echo{}, Options{})
		for _, c := range []*Conn{client, server} {
			if _, is := c.nc.(*socket.Conn); !is {
				t.Errorf("%s: %T", network, c.nc)
			}
		}
	}
}
