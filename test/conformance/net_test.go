//go:build linux

package conformance

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// inodeOf returns the inode of the TCP socket with these ends ("1.2.3.4:5"),
// from the kernel's table.
func inodeOf(t testing.TB, local, remote string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 9 && f[1] == kernelAddr(t, local) && (f[2] == kernelAddr(t, remote) || remote == "") {
			return f[9]
		}
	}
	t.Fatalf("no socket from %s to %q", local, remote)
	return ""
}

// kernelAddr writes an IPv4 address as /proc/net/tcp does.
func kernelAddr(t testing.TB, addr string) string {
	t.Helper()
	if addr == "" {
		return ""
	}
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	ip := a.Addr().Unmap().As4()
	return fmt.Sprintf("%08X:%04X", binary.LittleEndian.Uint32(ip[:]), a.Port())
}
