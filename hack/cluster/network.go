package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The address plan. Nothing of it leaves this machine.
const (
	network     = "10.99.0.0/16"
	hostIP      = "10.99.0.1"
	controlIP   = "10.99.0.2"
	serviceNet  = "10.96.0.0/16"
	serviceIP   = "10.96.0.1"
	apiServer   = "https://" + controlIP + ":6443"
	hostLink    = "rpcpool0"
	bridge      = "br0"
	namespaces  = "/run/netns"
	namespaceOf = "rpcpool-"

	controlName  = "control"
	controlSpace = namespaceOf + controlName
)

// ip is a machine's address.
func (m *machine) ip() string {
	if m.node == 0 {
		return controlIP
	}
	return fmt.Sprintf("10.99.0.%d", 10+m.node)
}

// pods is the network of a node's pods.
func (m *machine) pods() string { return fmt.Sprintf("10.99.%d.0/24", m.node) }

// namespace is the name of a machine's network namespace.
func (m *machine) namespace() string { return namespaceOf + m.name }

// ip runs the program ip, and says what it was asked for when it fails.
func ip(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// script runs several commands of ip, a line each.
func script(ctx context.Context, text string) error {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 {
			if err := ip(ctx, fields...); err != nil {
				return err
			}
		}
	}
	return nil
}

// exists tells whether the network namespace is there.
func (m *machine) exists() bool {
	_, err := os.Stat(filepath.Join(namespaces, m.namespace()))
	return err == nil
}

// connect gives the machine its network namespace, and a cable to the bridge, which
// is in the namespace of the control plane.
func (m *machine) connect(ctx context.Context) error {
	if m.exists() {
		if m.node == 0 {
			return nil
		}
		return ip(ctx, "-n", controlSpace, "link", "set", m.name, "up") // after a power cut
	}
	if m.node == 0 {
		return m.connectControl(ctx)
	}
	routes := ""
	for i := 1; i <= maxNodes; i++ {
		if other := (&machine{node: i}); i != m.node {
			routes += fmt.Sprintf("-n %s route add %s via %s\n", m.namespace(), other.pods(), other.ip())
		}
	}
	return script(ctx, fmt.Sprintf(`
		netns add %[1]s
		-n %[2]s link add %[3]s type veth peer name eth0 netns %[1]s
		-n %[2]s link set %[3]s master %[7]s up
		-n %[1]s link set lo up
		-n %[1]s addr add %[4]s/24 dev eth0
		-n %[1]s link set eth0 up
		-n %[1]s route add default via %[5]s
		%[8]s
		-n %[2]s route replace %[6]s via %[4]s
		route replace %[6]s via %[4]s`,
		m.namespace(), controlSpace, m.name, m.ip(), hostIP, m.pods(), bridge, routes))
}

// connectControl makes the bridge, and the host's cable to it.
func (m *machine) connectControl(ctx context.Context) error {
	if err := clash(ctx); err != nil {
		return err
	}
	return script(ctx, fmt.Sprintf(`
		netns add %[1]s
		-n %[1]s link set lo up
		-n %[1]s link add %[2]s type bridge
		-n %[1]s addr add %[3]s/24 dev %[2]s
		-n %[1]s link set %[2]s up
		link add %[4]s type veth peer name host netns %[1]s
		-n %[1]s link set host master %[2]s up
		addr add %[5]s/24 dev %[4]s
		link set %[4]s up
		-n %[1]s route add default via %[5]s`,
		m.namespace(), bridge, controlIP, hostLink, hostIP))
}

// clash tells whether this machine uses the cluster's addresses for something else.
func clash(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "ip", "-o", "route", "show", "root", network).Output()
	if err != nil {
		return fmt.Errorf("routes of this machine: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, "dev "+hostLink) {
			return fmt.Errorf("this machine uses addresses of %s, the cluster's: %s", network, strings.TrimSpace(line))
		}
	}
	return nil
}

// unplug takes the cable out, so that nobody hears of what ends in the machine: a
// kernel that kills processes says goodbye on their connections, and a power cut
// does not.
func (m *machine) unplug(ctx context.Context) error {
	return ip(ctx, "-n", controlSpace, "link", "set", m.name, "down")
}

// disconnect removes the namespace, and with it the cable, addresses and routes in it.
func (m *machine) disconnect(ctx context.Context) error {
	if !m.exists() {
		return nil
	}
	return ip(ctx, "netns", "delete", m.namespace())
}

// removeLink removes a link of the host, and with it the routes over it.
func removeLink(ctx context.Context, name string) error {
	if _, err := os.Stat(filepath.Join("/sys/class/net", name)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return ip(ctx, "link", "delete", name)
}
