//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `rpcpool-e2e is what the end-to-end tests run on nodes.

Usage:
  rpcpool-e2e pause
  rpcpool-e2e faults list --container ID
  rpcpool-e2e faults kill --container ID [--process NAME | --init | --pid N] [--signal N]
  rpcpool-e2e faults mounts --container ID
  rpcpool-e2e faults environ --container ID
  rpcpool-e2e faults sleep
  rpcpool-e2e deviceplugin --devices ADDRESS,... [flags]
  rpcpool-e2e deviceplugin make --devices ADDRESS,... [--dev DIR] [--fake-sysfs DIR]
  rpcpool-e2e deviceplugin set-health ADDRESS healthy|unhealthy [--unhealthy-file PATH]
  rpcpool-e2e deviceplugin set-port ADDRESS active|down --fake-sysfs DIR [--ip IP]...
  rpcpool-e2e deviceplugin clean --dev DIR --state DIR
  rpcpool-e2e visit --tracker HOST:PORT --key KEY [flags]
  rpcpool-e2e echo --tracker HOST:PORT --service NAME [flags]

Examples:
  rpcpool-e2e visit --tracker rpcpool-tracker.tuning.svc:9190 --key cpu --hold 10m,0s
  rpcpool-e2e faults kill --container containerd://1f0c... --process rpcpool-worker
  rpcpool-e2e faults kill --container 1f0c... --init --signal 19
  rpcpool-e2e deviceplugin --devices 0000:3b:00.2,0000:3b:00.3 --env-info
  rpcpool-e2e deviceplugin set-health 0000:3b:00.2 unhealthy

pause
  Reaps orphans and ends on SIGTERM or SIGINT. faults sleep is the same.

faults
  For a privileged pod with hostPID on the container's node. list prints a list of
  process trees; kill prints who got the signal, and when (Unix time in nanoseconds);
  mounts prints where something is mounted in the container; environ prints the
  environment in which it was started.
  --container ID           the container's id, as its pod's status has it
  --process NAME           all processes of that name, or of a program of that name
                           and any version
  --init                   the container's first process
  --pid N                  the process of that id on the node
                           Without any of these, all processes of the container.
  --signal N               9 (SIGKILL); 19 stops, 18 continues
  --proc DIR               the node's /proc (/proc)

deviceplugin
  For a pod with the node's /var/lib/kubelet/device-plugins.
  --resource NAME          what is offered (openshift.io/rdma_vf)
  --devices ADDRESS,...    PCI addresses; the first is mlx5_0, with uverbs0, and so on
  --env-info               also set PCIDEVICE_..._INFO
  --nodes=false            hand out no character devices
  --dev DIR                the node's /dev; devices that it lacks are made in it, as
                           copies of /dev/null. Without it they must be there.
  --unhealthy-file PATH    addresses that are unhealthy, one a line; it is watched
                           (/tmp/unhealthy)
  --fake-sysfs DIR         write what sysfs would say of the devices; what is there
                           already stays as it is
  --mount-sysfs            show that to containers that get devices; DIR is its name on
                           the node, too
  --ip IP                  an address that the port has, such as the pod's; may be
                           repeated. All former ones go but the link-local one.
  --dir DIR                where the kubelet's socket is
                           (/var/lib/kubelet/device-plugins)
  make only makes the devices, for rpcpool-e2e-dra, which offers them by claims.
  clean removes the devices that were made in a node's /dev, and --state DIR, where
  the other files are; it prints what it has removed.

visit
  Asks for a server, calls a function, holds the session, and prints every step.
  --hold D,...             how long sessions are held, one after the other (0s)
  --repeat                 go on with the last of these for ever
  --call NAME              the function that holds a session (test.sleep)
  --timeout D              how long the server is asked to let a session last

echo
  Sends random bytes to servers of native calls, and compares what comes back.
  --bytes N                of each argument (1 MiB)
  --calls N                one after another (1)
  --timeout D              of all (1m)
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// errUsage is an error of whoever typed the command.
var errUsage = errors.New("see rpcpool-e2e --help")

// run executes the command line and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := command(ctx, args, stdout, stderr)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "rpcpool-e2e: %v\n", err)
		return exitUsage
	}
	fmt.Fprintf(stderr, "rpcpool-e2e: %v\n", err)
	return exitFailed
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	name, rest := "", args
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, rest = args[0], args[1:]
	}
	switch name {
	case "pause":
		return pause(ctx)
	case "faults":
		return faultsCommand(ctx, rest, stdout)
	case "deviceplugin":
		return devicePluginCommand(ctx, rest, stdout, stderr)
	case "visit":
		return visitCommand(ctx, rest, stdout)
	case "echo":
		return echoCommand(ctx, rest, stdout)
	case "":
		return parse(newFlags("rpcpool-e2e"), rest, 0)
	}
	return fmt.Errorf("unknown command %q: %w", name, errUsage)
}

func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

// parse parses flags, after which there are so many arguments.
func parse(flags *flag.FlagSet, args []string, arguments int) error {
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err //nolint:wrapcheck // it is no error
	case err != nil:
		return fmt.Errorf("%s: %w: %w", flags.Name(), err, errUsage)
	case flags.NArg() != arguments || flags.NFlag() == 0 && arguments == 0:
		return fmt.Errorf("%s: unexpected or missing arguments: %w", flags.Name(), errUsage)
	}
	return nil
}
