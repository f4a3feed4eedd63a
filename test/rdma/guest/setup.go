//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"rpcpool.dev/test/rdma/gid"
	"rpcpool.dev/test/rdma/image"
	"rpcpool.dev/test/rdma/plan"
)

// patience is how long to wait for what needs no more than a moment.
const (
	patience = 60 * time.Second
	moment   = 20 * time.Millisecond
)

func mount() error {
	for dir, kind := range map[string]string{"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs"} {
		if err := unix.Mount(kind, dir, kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	for key, value := range map[string]string{"PATH": "/bin", "HOME": "/tmp"} {
		if err := os.Setenv(key, value); err != nil {
			return err
		}
	}
	return nil
}

func loadModules() error {
	order, err := os.ReadFile(image.OrderFile)
	if err != nil {
		return fmt.Errorf("load modules: %w", err)
	}
	for path := range strings.Lines(string(order)) {
		path = strings.TrimSpace(path)
		file, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("load modules: %w", err)
		}
		err = unix.FinitModule(int(file.Fd()), "", 0)
		_ = file.Close()
		if err != nil {
			return fmt.Errorf("load module %s: %w", path, err)
		}
	}
	return nil
}

func setUpNetwork(n plan.Network) error {
	for _, name := range []string{"lo", n.Interface} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("interface %s: %w", name, err)
		}
		if name == n.Interface && n.MTU != 0 {
			if err := netlink.LinkSetMTU(link, n.MTU); err != nil {
				return fmt.Errorf("interface %s: MTU %d: %w", name, n.MTU, err)
			}
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("interface %s: %w", name, err)
		}
		if name != n.Interface || name == "lo" { // the kernel gives lo its address
			continue
		}
		address := &netlink.Addr{IPNet: &net.IPNet{
			IP:   n.Address.Addr().AsSlice(),
			Mask: net.CIDRMask(n.Address.Bits(), n.Address.Addr().BitLen()),
		}}
		if err := netlink.AddrAdd(link, address); err != nil {
			return fmt.Errorf("interface %s: address %s: %w", name, n.Address, err)
		}
	}
	return nil
}

// setUpRDMA makes the device, and returns the index of the GID that is the machine's
// address. Everybody may use the device, as in a pod that has been granted one.
func setUpRDMA(n plan.Network) (index string, err error) {
	if err := netlink.RdmaLinkAdd(plan.Device, "rxe", n.Interface); err != nil {
		return "", fmt.Errorf("soft-RoCE on %s: %w", n.Interface, err)
	}
	err = within("the RDMA device has no GID of "+n.Address.Addr().String(), func() bool {
		found, err := gid.Find(gid.Sysfs, plan.Device, n.Address.Addr())
		index = strconv.Itoa(found)
		return err == nil
	})
	if err != nil {
		return "", err
	}
	return index, os.Chmod("/dev/infiniband/uverbs0", 0o666)
}

// within waits until something is so.
func within(failure string, so func() bool) error {
	for end := time.Now().Add(patience); !so(); time.Sleep(moment) {
		if time.Now().After(end) {
			return fmt.Errorf("after %s: %s", patience, failure)
		}
	}
	return nil
}
