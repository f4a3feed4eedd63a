package device

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// NetworkStatusAnnotation is where CNI plugins such as Multus write what they have
// attached to a pod.
const NetworkStatusAnnotation = "k8s.v1.cni.cncf.io/network-status"

// Bounds of what is read of it.
const (
	maxStatus   = 64 << 10 // bytes
	maxNetworks = 64
)

// attachment is an interface that a CNI plugin has made of a device.
type attachment struct {
	network, netdev string
	pci             string   // its function on the bus; empty: not said
	devices         []string // its RDMA devices
	addrs           []netip.Addr
}

// status is everything that is attached to a pod.
type status []attachment

// of is what was made of a device; nil if nobody says so.
func (s status) of(d *seenDevice) *attachment {
	for i := range s {
		a := &s[i]
		if a.pci != "" && a.pci == d.Address || d.name != "" && slices.Contains(a.devices, d.name) {
			return a
		}
	}
	return nil
}

// network returns the pod's addresses, and what is attached to it. Without addresses
// no GID is found, which the report says.
func (h Host) network() ([]Address, status, error) {
	own, _ := h.Addresses()
	own = usable(own)
	if h.NetworkStatus == "" {
		return own, nil, nil
	}
	f, err := os.Open(h.NetworkStatus)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return own, nil, nil
	case err != nil:
		return own, nil, err //nolint:wrapcheck // names the file
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxStatus+1))
	if err != nil {
		return own, nil, err //nolint:wrapcheck // names the file
	}
	all, err := parseStatus(text)
	if err != nil {
		return own, nil, fmt.Errorf("annotation %s: %w", NetworkStatusAnnotation, err)
	}
	return own, all, nil
}

// parseStatus reads the annotation, as far as it is about devices. Empty: none is
// written yet.
func parseStatus(text []byte) (status, error) {
	if len(text) > maxStatus {
		return nil, fmt.Errorf("more than %d bytes", maxStatus)
	}
	if strings.TrimSpace(string(text)) == "" {
		return nil, nil
	}
	var said []struct {
		Name      string   `json:"name"`
		Interface string   `json:"interface"`
		IPs       []string `json:"ips"`
		Device    struct {
			PCI struct {
				Address string `json:"pci-address"`
				RDMA    string `json:"rdma-device"`
			} `json:"pci"`
		} `json:"device-info"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return nil, fmt.Errorf("not a list of networks: %w", err)
	}
	if len(said) > maxNetworks {
		return nil, fmt.Errorf("%d networks: want at most %d", len(said), maxNetworks)
	}
	var all status
	for _, n := range said {
		a := attachment{network: n.Name, netdev: n.Interface, pci: n.Device.PCI.Address}
		if n.Device.PCI.RDMA != "" {
			a.devices = strings.Split(n.Device.PCI.RDMA, ",")
		}
		if a.pci == "" && a.devices == nil {
			continue
		}
		for _, ip := range n.IPs {
			addr, err := parseIP(ip)
			if err != nil {
				return nil, fmt.Errorf("network %.80q: %.80q is not an address", n.Name, ip)
			}
			a.addrs = append(a.addrs, addr)
		}
		all = append(all, a)
	}
	return all, nil
}

// parseIP reads an address, with or without the length of its prefix.
func parseIP(text string) (netip.Addr, error) {
	text, _, _ = strings.Cut(text, "/")
	addr, err := netip.ParseAddr(text)
	return addr.Unmap(), err //nolint:wrapcheck // is not shown
}

// usable are the addresses that others can connect to, each once, sorted.
func usable(list []Address) []Address {
	var out []Address
	for _, a := range list {
		if a.Addr = a.Addr.Unmap().WithZone(""); a.Addr.IsGlobalUnicast() {
			out = append(out, a)
		}
	}
	slices.SortStableFunc(out, func(a, b Address) int { return a.Addr.Compare(b.Addr) })
	return slices.CompactFunc(out, func(a, b Address) bool { return a.Addr == b.Addr })
}

// addresses are those that a device can have: of the interface that was made of it
// or, if nobody tells, all of the pod's.
func (d *seenDevice) addresses() []Address {
	if d.attached == nil {
		return d.own
	}
	var list []Address
	for _, a := range d.attached.addrs {
		list = append(list, Address{a, d.attached.netdev})
	}
	return usable(list)
}
