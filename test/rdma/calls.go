//go:build linux

package main

import (
	"fmt"
	"slices"
	"time"

	"rpcpool.dev/test/rdma/plan"
)

// calls are whole calls whose arguments and results go by RDMA; and the same where the
// server may not lock memory, so that all goes by TCP.
func calls(server string) []step {
	const port = 7200
	at := fmt.Sprintf("%s:%d", server, port)
	pair := func(name string, server, client []string) step {
		server = append([]string{"/bin/calls", "-serve", at, "-address", first.Addr().String()}, server...)
		client = slices.Concat([]string{"/bin/calls", "-call", at, "-address", second.Addr().String()}, client, []string{"argument", "result", "inout"})
		return step{
			Step: plan.Step{
				Name: name, Server: &plan.Command{Args: server, Port: port}, Client: &plan.Command{Args: client},
				Limit: plan.Duration(2 * time.Minute),
			},
			figures: verdicts,
		}
	}
	return []step{
		pair("blobs by RDMA", nil, nil),
		pair("no memlock", []string{"-unprivileged"}, []string{"-fallback"}),
	}
}
