package tracker

import (
	"testing"

	"golang.org/x/sys/unix"

	"rpcpool.dev/internal/tcp"
)

// Packets cannot be dropped here without privileges; what finds a vanished peer
// is the kernel, if it is told to. The other half of the row, the lost ticket,
// is row 56.
func TestRow046_DeadPeersAreLookedFor(t *testing.T) {
	h := start(t, Options{})
	h.join()
	h.connMu.Lock()
	defer h.connMu.Unlock()
	for c := range h.conns {
		raw, err := c.nc.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		for _, opt := range []struct {
			name               string
			level, option, max int
		}{
			{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(tcp.KeepAliveIdle.Seconds())},
			{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(tcp.KeepAliveInterval.Seconds())},
			{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, tcp.KeepAliveCount},
			{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(tcp.DeadPeerAfter.Milliseconds())},
		} {
			value := 0
			_ = raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), opt.level, opt.option) })
			if err != nil || value < 1 || value > opt.max {
				t.Errorf("%s is %d (%v), want 1 to %d", opt.name, value, err, opt.max)
			}
		}
	}
}

// segmentsOut returns how many segments with data the tracker has sent on its
// only connection.
func (h *harness) segmentsOut() (n uint32) {
	h.t.Helper()
	h.connMu.Lock()
	defer h.connMu.Unlock()
	for c := range h.conns {
		err := c.out.write.raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			if err != nil {
				h.t.Error(err)
				return
			}
			n = info.Data_segs_out
		})
		if err != nil {
			h.t.Error(err)
		}
	}
	return n
}
