//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"rpcpool.dev/test/rdma/plan"
)

// peers are the programs of libibverbs and perftest: what others reach on the same
// machines, for the eye. Each takes a second or two.
func peers(server string) []step {
	const pingpongPort, perftestPort = 18515, 18516
	pair := func(name string, port int, figures func([]string) ([]outcome, error), args ...string) step {
		args = append(args, "-p", strconv.Itoa(port))
		return step{
			Step: plan.Step{
				Name:   name,
				Server: &plan.Command{Args: args, Port: port},
				Client: &plan.Command{Args: append(args[:len(args):len(args)], server)},
				Limit:  plan.Duration(time.Minute),
			},
			figures: figures,
		}
	}
	return []step{
		pair("ibv_rc_pingpong", pingpongPort, pingpong,
			"/bin/ibv_rc_pingpong", "-d", plan.Device, "-g", plan.GID, "-s", "4096", "-n", "100"),
		pair("ib_read_lat", perftestPort, readLatency,
			"/bin/ib_read_lat", "-d", plan.Device, "-x", plan.GID, "-s", "8", "-n", "100", "-F"),
		pair("ib_read_bw", perftestPort, readBandwidth,
			"/bin/ib_read_bw", "-d", plan.Device, "-x", plan.GID, "-s", "1048576", "-n", "16", "-F"),
	}
}

// pingpong reads "500 iters in 0.15 seconds = 300.1 usec/iter".
func pingpong(client []string) ([]outcome, error) {
	for _, line := range client {
		if words := strings.Fields(line); len(words) == 8 && words[7] == "usec/iter" {
			return []outcome{{name: "4 KiB there and back", figure: words[6] + " us"}}, nil
		}
	}
	return nil, fmt.Errorf("ibv_rc_pingpong has printed no time: %q", client)
}

// readLatency finds the typical one in perftest's table, in us.
func readLatency(client []string) ([]outcome, error) {
	typical, err := column(client, 4)
	if err != nil {
		return nil, err
	}
	return []outcome{{name: "READ of 8 bytes", figure: typical + " us"}}, nil
}

// readBandwidth finds the average in perftest's table, which it calls MB/s: 2^20 bytes.
func readBandwidth(client []string) ([]outcome, error) {
	average, err := column(client, 3)
	if err != nil {
		return nil, err
	}
	return []outcome{{name: "READ of 1 MiB", figure: average + " MiB/s"}}, nil
}

// column returns a column of perftest's table, which has one line, below its head.
func column(client []string, n int) (string, error) {
	for i, line := range client {
		if !strings.HasPrefix(strings.TrimSpace(line), "#bytes") || i+1 == len(client) {
			continue
		}
		words := strings.Fields(client[i+1])
		if n >= len(words) {
			break
		}
		if _, err := strconv.ParseFloat(words[n], 64); err != nil {
			break
		}
		return words[n], nil
	}
	return "", fmt.Errorf("perftest has printed no table: %q", client)
}
