//go:build linux

package main

import (
	"fmt"
	"slices"
	"time"

	"rpcpool.dev/test/rdma/plan"
)

// calls are whole calls whose arguments and results go by RDMA, to workers of rpcpool serve;
// the same where the server may not lock memory, so that all goes by TCP; and where link or
// server break in mid-transfer.
func calls(server string) []step {
	const port, pages = 7200, 7201
	at, page := fmt.Sprintf("%s:%d", server, port), fmt.Sprintf("%s:%d", server, pages)
	serve := func(mode string) []string {
		return []string{
			"/bin/rpcpool", "serve", "--protocol", "rpc", "--listen", at, "--metrics", page, "--log-level", "warn",
			"--rdma-mode", mode, "--rdma-silence", "2s", "--", "/bin/calls",
		}
	}
	pair := func(name string, server []string, client ...string) step {
		client = append([]string{"/bin/calls", "-server", at, "-pages", page}, client...)
		return step{
			Step: plan.Step{
				Name: name, Server: &plan.Command{Args: server, Port: port}, Client: &plan.Command{Args: client},
				Limit: plan.Duration(4 * time.Minute),
			},
			figures: verdicts,
		}
	}
	return []step{
		pair("blobs by RDMA", serve("required"), "argument", "result", "inout", "at-rest", "quit"),
		pair("no memlock", slices.Concat([]string{"/bin/calls", "-unprivileged"}, serve("auto")),
			"-tcp", "argument", "result", "inout", "quit"),
		pair("broken in mid-transfer", slices.Concat([]string{"/bin/calls", "-lives", "3"}, serve("auto")),
			"link-down", "at-rest", "killed-argument", "killed-result", "at-rest", "killed-for-good"),
	}
}
