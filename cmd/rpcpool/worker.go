package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	tvmworker "rpcpool.dev/workers/go"
	tvmbuiltin "rpcpool.dev/workers/go/builtin"
)

// newWorkerCommand returns "rpcpool worker", the built-in worker. The program
// rpcpool-worker is the same and starts faster, for it links nothing else.
func newWorkerCommand() *cobra.Command {
	var flavour string
	var tests, calls bool
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Serve TVM sessions or native calls, as the worker of a server",
		Long: `Serve TVM's RPC protocol with the built-in functions: files, arrays, and the
matrix product of the tuning example.

A worker is not started by hand. An agent starts it, hands it a session that has
shaken hands, and learns from its exit status how the session ended: 0 in order,
76 the client broke the protocol. The program rpcpool-worker does the same and
starts faster.

In Watchdog isolation a worker serves sessions one after another, and ends itself
at a session's deadline.

With --calls it serves native calls, of a server with --protocol rpc: echo,
snprintf (a size, a format, and values), sleep (seconds) and crash (how: "panic",
"exit" or "kill"). If the server has --accumulators, it counts them there.`,
		Example: `  # A server whose sessions are served by the built-in worker
  rpcpool serve --key demo --listen :9090 --tracker 127.0.0.1:9190 -- rpcpool worker

  # The same for clients of TVM 0.8 to 0.20
  rpcpool serve --key demo --listen :9090 --tracker 127.0.0.1:9190 -- rpcpool worker --flavour A

  # A server of native calls
  rpcpool serve --protocol rpc --listen :9090 -- rpcpool worker --calls`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if calls {
				return serveCalls()
			}
			if os.Getenv("RPCPOOL_SESSION") == "" {
				return usageErrorf("no session: a worker is started by an agent, as by 'rpcpool serve -- rpcpool worker'")
			}
			s, err := tvmbuiltin.New(flavour, tests)
			if err != nil {
				return usageErrorf("--flavour: %w", err)
			}
			// A worker that is told to end ends, whatever a function does.
			signal.Reset(os.Interrupt, syscall.SIGTERM)
			os.Exit(tvmworker.Main(s)) // its statuses say more than ours
			return nil
		},
	}
	cmd.Flags().StringVar(&flavour, "flavour", "C", "TVM session protocol: A (v0.8 to v0.20), B (v0.21) or C (since v0.22)")
	cmd.Flags().BoolVar(&tests, "test-functions", false, "offer functions that crash, hang and misbehave (test.*)")
	cmd.Flags().BoolVar(&calls, "calls", false, "serve native calls, not TVM's sessions")
	return cmd
}
