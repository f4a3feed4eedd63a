package sysfs

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// States of a port, in the kernel's words.
const (
	Active = "4: ACTIVE"
	Down   = "1: DOWN"
)

// Types of a GID, in the kernel's words.
const (
	RoCEv1 = "IB/RoCE v1"
	RoCEv2 = "RoCE v2"
)

// Ethernet is the link layer of RoCE.
const Ethernet = "Ethernet"

// Device is a PCI function with an RDMA device of one port, and its network
// interface.
type Device struct {
	Address   string // of the PCI function: 0000:3b:00.2
	RDMA      string // mlx5_2
	Verbs     string // the RDMA device's node in /dev/infiniband: uverbs2
	Interface string // ens1f0v0
	MTU       int    // the interface's, in bytes
	State     string // the port's: [Active], [Down]
	LinkLayer string // the port's: [Ethernet]
	GIDs      []GID  // by index
}

// GID is an address of a port.
type GID struct {
	Address netip.Addr // an IPv4 address is written mapped into IPv6
	Type    string     // [RoCEv1], [RoCEv2]
}

// RoCE returns a device as cards for Ethernet are by default: its port is active,
// and each address is a GID of both types, first the older one.
func RoCE(address, rdma, verbs, iface string, mtu int, addresses ...netip.Addr) Device {
	d := Device{Address: address, RDMA: rdma, Verbs: verbs, Interface: iface, MTU: mtu, State: Active, LinkLayer: Ethernet}
	for _, a := range addresses {
		d.GIDs = append(d.GIDs, GID{a, RoCEv1}, GID{a, RoCEv2})
	}
	return d
}

// Write writes the devices below root, which is /sys to those who read.
func Write(root string, devices ...Device) error {
	for _, d := range devices {
		if err := d.write(root); err != nil {
			return fmt.Errorf("fake sysfs of %s: %w", d.Address, err)
		}
	}
	return nil
}

// Find reads the names of a device that was written below root. Its port is to be
// set anew.
func Find(root, address string) (Device, error) {
	d := Device{Address: address}
	for dir, field := range map[string]*string{"infiniband": &d.RDMA, "infiniband_verbs": &d.Verbs, "net": &d.Interface} {
		entries, err := os.ReadDir(filepath.Join(root, "bus", "pci", "devices", address, dir))
		if err != nil {
			return Device{}, fmt.Errorf("fake sysfs of %s: %w", address, err)
		}
		for _, entry := range entries {
			*field = entry.Name()
		}
	}
	return d, nil
}

func (d Device) write(root string) error {
	function := filepath.Join("bus", "pci", "devices", d.Address)
	device := filepath.Join(function, "infiniband", d.RDMA)
	iface := filepath.Join(function, "net", d.Interface)
	files := map[string]string{
		filepath.Join(iface, "mtu"):                                   strconv.Itoa(d.MTU),
		filepath.Join(function, "infiniband_verbs", d.Verbs, "ibdev"): d.RDMA,
	}
	// A shorter table of GIDs leaves none of a longer one.
	for _, table := range []string{"gids", "gid_attrs"} {
		if err := os.RemoveAll(filepath.Join(root, device, "ports", "1", table)); err != nil {
			return err //nolint:wrapcheck // names the directory
		}
	}
	for name, text := range d.port() {
		files[filepath.Join(device, "ports", "1", name)] = text
	}
	for name, text := range files {
		if err := writeFile(filepath.Join(root, name), text); err != nil {
			return err
		}
	}
	for class, target := range map[string]string{"infiniband": device, "net": iface} {
		if err := link(root, target, class); err != nil {
			return err
		}
	}
	return nil
}

// port is what the files of the device's port say.
func (d Device) port() map[string]string {
	files := map[string]string{"state": d.State, "link_layer": d.LinkLayer}
	for i, gid := range d.GIDs {
		index := strconv.Itoa(i)
		files[filepath.Join("gids", index)] = gid.String()
		files[filepath.Join("gid_attrs", "types", index)] = gid.Type
		files[filepath.Join("gid_attrs", "ndevs", index)] = d.Interface
	}
	return files
}

// String is the address as the kernel writes a GID: eight groups of four digits.
func (g GID) String() string {
	sixteen := g.Address.As16()
	groups := make([]string, 0, len(sixteen)/2)
	for i := 0; i < len(sixteen); i += 2 {
		groups = append(groups, hex.EncodeToString(sixteen[i:i+2]))
	}
	return strings.Join(groups, ":")
}

// writeFile puts a line into a file. Who reads meanwhile reads all of it or, as
// of a device that comes or goes, finds no file.
func writeFile(path, line string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err //nolint:wrapcheck // names the directory
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(line+"\n"), 0o644); err != nil {
		return err //nolint:wrapcheck // names the file
	}
	return os.Rename(temporary, path)
}

// link makes a target below root known by its class.
func link(root, target, class string) error {
	dir := filepath.Join("class", class)
	if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
		return err //nolint:wrapcheck // names the directory
	}
	relative, err := filepath.Rel(dir, target)
	if err != nil {
		return err //nolint:wrapcheck // names both
	}
	name := filepath.Join(root, dir, filepath.Base(target))
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return err //nolint:wrapcheck // names the link
	}
	return os.Symlink(relative, name)
}
