//go:build linux

package gid

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestAnAddressIsFoundInTheTable(t *testing.T) {
	sysfs := t.TempDir()
	rows := filepath.Join(sysfs, "rxe0/ports/1/gids")
	if err := os.MkdirAll(rows, 0o700); err != nil {
		t.Fatal(err)
	}
	for index, text := range map[string]string{
		"0": "fe80:0000:0000:0000:5054:00ff:fe00:0001\n", "1": "0000:0000:0000:0000:0000:0000:0000:0000\n",
		"2": "no address\n", "12": "0000:0000:0000:0000:0000:ffff:0a07:0001\n",
	} {
		if err := os.WriteFile(filepath.Join(rows, index), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for address, want := range map[string]int{"10.7.0.1": 12, "fe80::5054:ff:fe00:1": 0} {
		if got, err := Find(sysfs, "rxe0", netip.MustParseAddr(address)); err != nil || got != want {
			t.Errorf("%s: %d, %v", address, got, err)
		}
	}
	for _, device := range []string{"rxe0", "rxe1"} {
		if got, err := Find(sysfs, device, netip.MustParseAddr("10.7.0.2")); err == nil {
			t.Errorf("%s: %d", device, got)
		}
	}
}
