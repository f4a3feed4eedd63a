//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rpcpool.dev/test/e2e/image/deviceplugin"
	"rpcpool.dev/test/e2e/image/sysfs"
)

// unhealthyFile is where the plugin and set-health meet, if nobody says otherwise.
const unhealthyFile = "/tmp/unhealthy"

func devicePluginCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "make":
			return makeCommand(args[1:])
		case "set-health":
			return setHealth(args[1:])
		case "set-port":
			return setPort(args[1:])
		case "clean":
			return cleanNode(args[1:], stdout)
		}
	}
	flags := newFlags("deviceplugin")
	config := deviceplugin.Config{Retry: time.Second, Log: slog.New(slog.NewTextHandler(stderr, nil))}
	flags.StringVar(&config.Resource, "resource", "openshift.io/rdma_vf", "")
	addresses := flags.String("devices", "", "")
	flags.BoolVar(&config.Info, "env-info", false, "")
	flags.BoolVar(&config.Nodes, "nodes", true, "")
	dev := flags.String("dev", "", "")
	flags.StringVar(&config.UnhealthyFile, "unhealthy-file", unhealthyFile, "")
	fakeSysfs := flags.String("fake-sysfs", "", "")
	mountSysfs := flags.Bool("mount-sysfs", false, "")
	flags.StringVar(&config.Dir, "dir", "/var/lib/kubelet/device-plugins", "")
	if err := parse(flags, args, 0); err != nil {
		return err
	}
	if *mountSysfs {
		if config.Sysfs = *fakeSysfs; !filepath.IsAbs(config.Sysfs) {
			return fmt.Errorf("deviceplugin: --mount-sysfs: --fake-sysfs is the name of a directory on the node: %w", errUsage)
		}
	}
	var err error
	if config.Devices, err = deviceplugin.ParseDevices(*addresses); err != nil {
		return fmt.Errorf("deviceplugin: %w: %w", err, errUsage)
	}
	if !config.Nodes {
		*dev = ""
	}
	if err := makeHardware(*dev, *fakeSysfs, config.Devices); err != nil {
		return err
	}
	return deviceplugin.Run(ctx, config) //nolint:wrapcheck // says what is wrong
}

// makeCommand makes hardware that somebody else offers.
func makeCommand(args []string) error {
	flags := newFlags("deviceplugin make")
	addresses := flags.String("devices", "", "")
	dev := flags.String("dev", "", "")
	fakeSysfs := flags.String("fake-sysfs", "", "")
	if err := parse(flags, args, 0); err != nil {
		return err
	}
	devices, err := deviceplugin.ParseDevices(*addresses)
	if err != nil {
		return fmt.Errorf("deviceplugin make: %w: %w", err, errUsage)
	}
	return makeHardware(*dev, *fakeSysfs, devices)
}

// makeHardware makes devices in a node's /dev and in a directory that is shown as sysfs;
// empty: not there.
func makeHardware(dev, fakeSysfs string, devices []deviceplugin.Device) error {
	if dev != "" {
		if err := deviceplugin.MakeNodes(dev, devices); err != nil {
			return err //nolint:wrapcheck // names the device
		}
	}
	if fakeSysfs != "" {
		return writeSysfs(fakeSysfs, devices)
	}
	return nil
}

// jumbo is the MTU of fake devices, in bytes.
const jumbo = 9000

// writeSysfs writes what is not there. A plugin that starts again finds its devices as
// they were.
func writeSysfs(root string, devices []deviceplugin.Device) error {
	for _, d := range fakeDevices(devices) {
		if _, err := sysfs.Find(root, d.Address); err == nil {
			continue
		}
		if err := sysfs.Write(root, d); err != nil {
			return err //nolint:wrapcheck // names the device
		}
	}
	return nil
}

// fakeDevices are RoCE devices, each with an address of a network for tests of such
// (RFC 2544).
func fakeDevices(devices []deviceplugin.Device) []sysfs.Device {
	all := make([]sysfs.Device, 0, len(devices))
	for _, d := range devices {
		all = append(all, fakeDevice(sysfs.Device{
			Address:   d.Address,
			RDMA:      d.RDMA,
			Verbs:     fmt.Sprintf("uverbs%d", d.Index),
			Interface: fmt.Sprintf("ens1f0v%d", d.Index),
		}, netip.AddrFrom4([4]byte{198, 18, 0, byte(d.Index + 1)})))
	}
	return all
}

// fakeDevice has a link-local address before the others, as all have.
func fakeDevice(names sysfs.Device, addresses ...netip.Addr) sysfs.Device {
	addresses = append([]netip.Addr{netip.MustParseAddr("fe80::200:ff:fe00:1")}, addresses...)
	return sysfs.RoCE(names.Address, names.RDMA, names.Verbs, names.Interface, jumbo, addresses...)
}

// setArguments parses ADDRESS and another word, with flags before or behind them.
func setArguments(flags *flag.FlagSet, args []string, words ...string) (address, word string, err error) {
	const arguments = 2
	if len(args) > arguments && !strings.HasPrefix(args[0], "-") {
		args = append(args[arguments:len(args):len(args)], args[:arguments]...)
	}
	if err := parse(flags, args, arguments); err != nil {
		return "", "", err
	}
	address, word = flags.Arg(0), flags.Arg(1)
	if _, err := deviceplugin.ParseDevices(address); err != nil || !slices.Contains(words, word) {
		return "", "", fmt.Errorf("%s: want ADDRESS %s: %w", flags.Name(), strings.Join(words, "|"), errUsage)
	}
	return address, word, nil
}

func setHealth(args []string) error {
	flags := newFlags("deviceplugin set-health")
	path := flags.String("unhealthy-file", unhealthyFile, "")
	address, health, err := setArguments(flags, args, "healthy", "unhealthy")
	if err != nil {
		return err
	}
	return deviceplugin.SetHealth(*path, address, health == "healthy") //nolint:wrapcheck // names the file
}

func setPort(args []string) error {
	flags := newFlags("deviceplugin set-port")
	root := flags.String("fake-sysfs", "", "")
	var addresses []netip.Addr
	flags.Func("ip", "", func(text string) error {
		address, err := netip.ParseAddr(text)
		addresses = append(addresses, address)
		return err //nolint:wrapcheck // flag names the value
	})
	address, state, err := setArguments(flags, args, "active", "down")
	if err != nil {
		return err
	}
	names, err := sysfs.Find(*root, address)
	if err != nil {
		return err //nolint:wrapcheck // names the device
	}
	device := fakeDevice(names, addresses...)
	if state == "down" {
		device.State = sysfs.Down
	}
	return sysfs.Write(*root, device) //nolint:wrapcheck // names the device
}

// cleanNode removes what plugins have left on a node, and prints that.
func cleanNode(args []string, stdout io.Writer) error {
	flags := newFlags("deviceplugin clean")
	dev := flags.String("dev", "", "")
	state := flags.String("state", "", "")
	if err := parse(flags, args, 0); err != nil {
		return err
	}
	if *dev == "" || *state == "" {
		return fmt.Errorf("deviceplugin clean: want --dev and --state: %w", errUsage)
	}
	removed, err := deviceplugin.RemoveNodes(*dev)
	if _, e := os.Stat(*state); e == nil {
		removed = append(removed, *state)
		err = errors.Join(err, os.RemoveAll(*state))
	}
	return errors.Join(err, printJSON(stdout, removed))
}
