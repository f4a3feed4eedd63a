package device

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// device looks at a granted device: by its address on the PCI bus or, without one
// (soft-RoCE has none), by the name of its RDMA device.
func (h Host) device(g Grant, own []Address, attachments status) seenDevice {
	d := seenDevice{Grant: g, own: own}
	dir := filepath.Join(h.Sys, "bus/pci/devices", g.Address)
	if g.Address == "" {
		dir = filepath.Join(h.Sys, "class")
	}
	if _, err := os.Stat(dir); err != nil {
		return d
	}
	d.present = true
	names := entries(filepath.Join(dir, "infiniband"))
	switch {
	case slices.Contains(names, g.Device):
		d.name = g.Device
	case len(names) == 0 || g.Address == "":
		return d
	default:
		d.name = names[0]
	}
	if d.node = cmp.Or(verbs(dir, d.name), g.Verbs); d.node != "" {
		d.nodeErr = openable(h.at(d.node))
	}
	d.attached = attachments.of(&d)
	own = d.addresses()
	ports := filepath.Join(dir, "infiniband", d.name, "ports")
	for _, number := range numbers(ports) {
		d.ports = append(d.ports, h.port(filepath.Join(ports, strconv.Itoa(number)), number, own))
	}
	return d
}

// at is where a path in /dev is.
func (h Host) at(node string) string { return filepath.Join(h.Dev, strings.TrimPrefix(node, "/dev/")) }

// verbs is the node of an RDMA device, as it is called everywhere; empty: sysfs
// does not tell.
func verbs(dir, name string) string {
	dir = filepath.Join(dir, "infiniband_verbs")
	for _, node := range entries(dir) {
		if text(filepath.Join(dir, node, "ibdev")) == name {
			return "/dev/infiniband/" + node
		}
	}
	return ""
}

// nodes are the devices whose nodes are in /dev: all that a container got, although
// sysfs may show those of others as well.
func (h Host) nodes() []Grant {
	var grants []Grant
	class := filepath.Join(h.Sys, "class/infiniband_verbs")
	for _, node := range entries(class) {
		g := Grant{Device: text(filepath.Join(class, node, "ibdev")), Verbs: "/dev/infiniband/" + node}
		if !deviceName.MatchString(g.Device) || !verbsNode.MatchString(g.Verbs) || openable(h.at(g.Verbs)) != nil {
			continue
		}
		// What is on the PCI bus is known by its address there.
		if target, err := filepath.EvalSymlinks(filepath.Join(class, node, "device")); err == nil && pciAddress.MatchString(filepath.Base(target)) {
			g.Address = filepath.Base(target)
		}
		grants = append(grants, g)
	}
	slices.SortFunc(grants, func(a, b Grant) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), strings.Compare(a.Device, b.Device))
	})
	return grants[:min(len(grants), maxGrants)]
}

// port looks at a port, and at its table of GIDs, as far as there may be a better one for
// these addresses. Tables are long, and most rows are empty.
func (h Host) port(dir string, number int, own []Address) port {
	_, state, _ := strings.Cut(text(filepath.Join(dir, "state")), ": ")
	if state == "" {
		state = "in a state that cannot be read"
	}
	p := port{number: number, state: state, link: text(filepath.Join(dir, "link_layer"))}
	if lid, err := strconv.ParseUint(text(filepath.Join(dir, "lid")), 0, 16); err == nil {
		p.lid = uint16(lid)
	}
	for _, index := range numbers(filepath.Join(dir, "gids")) {
		at := strconv.Itoa(index)
		addr, err := netip.ParseAddr(text(filepath.Join(dir, "gids", at)))
		if err != nil || addr.IsUnspecified() {
			continue
		}
		g := gid{
			index: index, addr: addr.Unmap(),
			kind: text(filepath.Join(dir, "gid_attrs/types", at)), netdev: text(filepath.Join(dir, "gid_attrs/ndevs", at)),
		}
		if g.netdev != "" {
			g.mtu, _ = strconv.Atoi(text(filepath.Join(h.Sys, "class/net", filepath.Base(g.netdev), "mtu")))
		}
		p.gids = append(p.gids, g)
		if p.rank(&g, own) == perfect {
			break
		}
	}
	return p
}

// openable tells whether a node can be opened as it is for verbs.
func openable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return unnamed(err)
	case info.Mode()&os.ModeCharDevice == 0:
		return errors.New("it is not a device")
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return unnamed(err)
	}
	return unnamed(f.Close())
}

// unnamed leaves out the path, which the message has already.
func unnamed(err error) error {
	if e := (*os.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// interfaceAddresses are those of this network namespace.
func interfaceAddresses() ([]Address, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err //nolint:wrapcheck // says what was asked
	}
	var out []Address
	for _, i := range interfaces {
		list, err := i.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		for _, a := range list {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				out = append(out, Address{prefix.Addr(), i.Name})
			}
		}
	}
	return out, nil
}
