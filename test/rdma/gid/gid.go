//go:build linux

// Package gid finds where an address is in an RDMA device's table. It is for tests.
package gid

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Sysfs is where the kernel shows its devices.
const Sysfs = "/sys/class/infiniband"

// Find returns the index of the GID of a device's first port that is an IP address.
func Find(sysfs, device string, address netip.Addr) (int, error) {
	want := netip.AddrFrom16(address.As16())
	files, err := filepath.Glob(filepath.Join(sysfs, device, "ports/1/gids/*"))
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil { // a row that is empty, or is being changed
			continue
		}
		if found, err := netip.ParseAddr(strings.TrimSpace(string(text))); err == nil && found == want {
			return strconv.Atoi(filepath.Base(file))
		}
	}
	return 0, fmt.Errorf("%s has no GID %s: there are %d", device, address, len(files))
}
