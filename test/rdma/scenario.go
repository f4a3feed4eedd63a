//go:build linux

package main

import (
	"net/netip"
	"time"

	"rpcpool.dev/test/rdma/machine"
	"rpcpool.dev/test/rdma/plan"
)

// scenario is a number of steps, on one machine or on two: then the first one has the
// servers.
type scenario struct {
	name     string
	two      bool
	programs []string // of ours, that it needs, by their paths
	steps    []step
}

// step is one of a scenario.
type step struct {
	plan.Step
	// figures finds, in what the client has printed, what is worth to be told.
	figures func(client []string) ([]outcome, error)
}

// outcome is what is told: a figure, or how a test went.
type outcome struct {
	name   string
	figure string // "1.2 us"; empty: it is not of interest
	took   time.Duration
	failed bool
}

// Addresses of the machines.
var (
	loopback = netip.MustParsePrefix("127.0.0.1/8")
	first    = netip.MustParsePrefix("10.7.0.1/24")
	second   = netip.MustParsePrefix("10.7.0.2/24")
)

// meeting is the port on which the first machine waits for the second.
const meeting = 7000

// plans returns what each machine does.
func (s scenario) plans() []plan.Plan {
	if !s.two {
		p := plan.Plan{Network: plan.Network{Interface: "lo", Address: loopback}}
		for _, step := range s.steps {
			p.Steps = append(p.Steps, step.Step)
		}
		return []plan.Plan{p}
	}
	network := plan.Network{Interface: "eth0", MTU: machine.MTU, Meet: netip.AddrPortFrom(first.Addr(), meeting)}
	a, b := plan.Plan{Network: network}, plan.Plan{Network: network}
	a.Network.Address, a.Network.Listens = first, true
	b.Network.Address = second
	for _, step := range s.steps {
		server, client := step.Step, step.Step
		server.Client, client.Server = nil, nil
		a.Steps, b.Steps = append(a.Steps, server), append(b.Steps, client)
	}
	return []plan.Plan{a, b}
}

// server is where clients find it.
func (s scenario) server() string {
	if s.two {
		return first.Addr().String()
	}
	return loopback.Addr().String()
}

// scenarios are all.
func scenarios() []scenario {
	tests := []string{"bin/rdma.test"}
	one, two := scenario{name: "one-machine", programs: tests}, scenario{name: "two-machines", two: true, programs: tests}
	one.steps = append(peers(one.server()), pulls(one))
	two.steps = append(peers(two.server()), pulls(two))
	whole := scenario{name: "calls", two: true, programs: []string{"bin/rpcpool", "bin/calls"}} // on one machine they share memory
	whole.steps = calls(whole.server())
	return []scenario{one, two, whole}
}
