//go:build linux

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"rpcpool.dev/test/rdma/plan"
)

// pulls are the tests of package rpc/rdma that want a device: what it does beside the
// peers, and what it is told when something is wrong.
func pulls(s scenario) step {
	const port = 7100
	args := []string{"/bin/rdma.test", "-test.v", "-test.run", "^TestDevice"}
	env := []string{"RPCPOOL_RDMA_DEVICE=" + plan.Device}
	p := plan.Step{Name: "rpc/rdma", Limit: plan.Duration(3 * time.Minute)}
	if !s.two { // they start their peers themselves
		p.Client = &plan.Command{Args: append(args, "-test.skip", "^TestDeviceLink"), Env: env}
		return step{Step: p, figures: verdicts}
	}
	at := fmt.Sprintf("%s:%d", s.server(), port)
	env = append(env, "RPCPOOL_RDMA_NETDEV=eth0")
	p.Server = &plan.Command{
		Args: args, Port: port,
		Env: slices.Concat(env, []string{"RPCPOOL_RDMA_ADDRESS=" + first.Addr().String(), "RPCPOOL_RDMA_LISTEN=" + at}),
	}
	p.Client = &plan.Command{
		Args: args,
		Env:  slices.Concat(env, []string{"RPCPOOL_RDMA_ADDRESS=" + second.Addr().String(), "RPCPOOL_RDMA_PEER=" + at}),
	}
	return step{Step: p, figures: verdicts}
}

// verdict is a line of Go's tests about one that is not part of another.
var verdict = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \((\d+\.\d+)s\)$`)

// verdicts reads how tests went, and lines such as "figure pull 1 MiB: 20 MiB/s". On
// these machines there is everything that a test may want, so one that was skipped has
// failed.
func verdicts(client []string) ([]outcome, error) {
	var all []outcome
	for _, line := range client {
		if text, ok := strings.CutPrefix(line, "figure "); ok {
			name, value, _ := strings.Cut(text, ": ")
			all = append(all, outcome{name: name, figure: value})
		}
		found := verdict.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		seconds, err := strconv.ParseFloat(found[3], 64)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		o := outcome{name: found[2], took: time.Duration(seconds * float64(time.Second)), failed: found[1] != "PASS"}
		if o.failed {
			o.figure = found[1]
		}
		all = append(all, o)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no test has run: %q", client)
	}
	return all, nil
}
