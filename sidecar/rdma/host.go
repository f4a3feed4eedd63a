package rdma

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is where the truth is looked up. The zero value is this process, on this
// machine.
type Host struct {
	// Sys, Dev and Proc are where sysfs, the devices and procfs are.
	Sys, Dev, Proc string
	// Lookup returns a variable of the environment.
	Lookup func(name string) (value string, ok bool)
	// Addresses returns the pod's addresses.
	Addresses func() ([]netip.Addr, error)
	// Memlock returns the limit on locked memory, in bytes.
	Memlock func() (uint64, error)
}

// Check looks, and judges. It reads some dozens of small files, opens each
// device's node once and changes nothing; it takes a millisecond, or for ever if
// a driver hangs.
func (h Host) Check(want Want) Report { return judge(want, h.withDefaults().look(want)) }

func (h Host) withDefaults() Host {
	for _, dir := range []struct {
		field     *string
		otherwise string
	}{{&h.Sys, "/sys"}, {&h.Dev, "/dev"}, {&h.Proc, "/proc"}} {
		if *dir.field == "" {
			*dir.field = dir.otherwise
		}
	}
	if h.Lookup == nil {
		h.Lookup = os.LookupEnv
	}
	if h.Addresses == nil {
		h.Addresses = interfaceAddresses
	}
	if h.Memlock == nil {
		h.Memlock = memlock
	}
	return h
}

func (h Host) look(want Want) seen {
	var s seen
	var grants []Grant
	if grants, s.grants = Grants(h.Lookup, want.Resource); len(grants) == 0 {
		return s
	}
	// Without addresses no GID is found, which the report says.
	s.own, _ = h.Addresses()
	s.own = usable(s.own)
	for _, g := range grants {
		s.devices = append(s.devices, h.device(g))
	}
	s.locked = h.locked()
	return s
}

// usable are the addresses that others can connect to, each once, sorted.
func usable(list []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		if a = a.Unmap().WithZone(""); a.IsGlobalUnicast() {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

func (h Host) device(g Grant) device {
	d := device{Grant: g}
	pci := filepath.Join(h.Sys, "bus/pci/devices", g.Address)
	if _, err := os.Stat(pci); err != nil {
		return d
	}
	d.present = true
	names := entries(filepath.Join(pci, "infiniband"))
	if len(names) == 0 {
		return d
	}
	d.name = names[0]
	if slices.Contains(names, g.Device) {
		d.name = g.Device
	}
	if d.node = cmp.Or(verbs(pci, d.name), g.Verbs); d.node != "" {
		d.nodeErr = openable(filepath.Join(h.Dev, strings.TrimPrefix(d.node, "/dev/")))
	}
	ports := filepath.Join(pci, "infiniband", d.name, "ports")
	for _, number := range numbers(ports) {
		d.ports = append(d.ports, h.port(filepath.Join(ports, strconv.Itoa(number)), number))
	}
	return d
}

// verbs is the node of an RDMA device, as it is called everywhere; empty: sysfs
// does not tell.
func verbs(pci, name string) string {
	dir := filepath.Join(pci, "infiniband_verbs")
	for _, node := range entries(dir) {
		if text(filepath.Join(dir, node, "ibdev")) == name {
			return "/dev/infiniband/" + node
		}
	}
	return ""
}

func (h Host) port(dir string, number int) port {
	_, state, _ := strings.Cut(text(filepath.Join(dir, "state")), ": ")
	if state == "" {
		state = "in a state that cannot be read"
	}
	p := port{number: number, state: state, link: text(filepath.Join(dir, "link_layer"))}
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

// locked reads how much memory this process may pin.
func (h Host) locked() (l locked) {
	effective, err := h.effective()
	if err != nil {
		return locked{err: err}
	}
	l.capable = effective&(1<<unix.CAP_IPC_LOCK) != 0
	l.limit, l.err = h.Memlock()
	return l
}

// effective is the process's set of effective capabilities.
func (h Host) effective() (uint64, error) {
	f, err := os.Open(filepath.Join(h.Proc, "self/status"))
	if err != nil {
		return 0, err //nolint:wrapcheck // names the file
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if set, ok := strings.CutPrefix(lines.Text(), "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(set), 16, 64) //nolint:wrapcheck // quotes the text
		}
	}
	return 0, fmt.Errorf("%s has no CapEff", f.Name())
}

func memlock() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return 0, fmt.Errorf("getrlimit: %w", err)
	}
	return limit.Cur, nil
}

func interfaceAddresses() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("interfaces: %w", err)
	}
	var out []netip.Addr
	for _, a := range list {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, prefix.Addr())
		}
	}
	return out, nil
}
