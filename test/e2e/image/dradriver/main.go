package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"rpcpool.dev/test/e2e/image/deviceplugin"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `rpcpool-e2e-dra offers RDMA devices that are not there, by dynamic resource allocation.

Usage:
  rpcpool-e2e-dra --driver NAME --node NAME --devices ADDRESS,... [flags]

Example:
  rpcpool-e2e-dra --driver sriov.example.com --node n1 --devices 0000:3b:00.2,0000:3b:00.3

It is for a pod with the node's directories, whose service account may read claims and
nodes, and write ResourceSlices. The log is on stderr.

  --driver NAME            what the driver is called
  --node NAME              the node whose devices they are
  --devices ADDRESS,...    PCI addresses; the first is mlx5_0, with uverbs0, and so on
  --sysfs DIR              a directory of the node that containers with devices see as sysfs
  --cdi DIR                where the runtime looks for CDI files (/var/run/cdi)
  --kubelet DIR            the kubelet's directory (/var/lib/kubelet)

Exit status: 0 done, 1 failed, 2 wrong usage.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// errUsage is an error of whoever typed the command.
var errUsage = errors.New("see rpcpool-e2e-dra --help")

// run executes the command line and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := command(ctx, args, stderr)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	}
	fmt.Fprintf(stderr, "rpcpool-e2e-dra: %v\n", err)
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitFailed
}

func command(ctx context.Context, args []string, stderr io.Writer) error {
	c, err := parse(args)
	if err != nil {
		return err
	}
	c.Log = slog.New(slog.NewTextHandler(stderr, nil))
	account, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("service account: %w", err)
	}
	client, err := kubernetes.NewForConfig(account)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	return serve(ctx, client, c)
}

func parse(args []string) (c config, err error) {
	flags := flag.NewFlagSet("rpcpool-e2e-dra", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&c.Name, "driver", "", "")
	flags.StringVar(&c.Node, "node", "", "")
	addresses := flags.String("devices", "", "")
	flags.StringVar(&c.Sysfs, "sysfs", "", "")
	flags.StringVar(&c.CDI, "cdi", "/var/run/cdi", "")
	flags.StringVar(&c.Kubelet, "kubelet", "/var/lib/kubelet", "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return config{}, err //nolint:wrapcheck // it is no error
	case err != nil:
		return config{}, fmt.Errorf("%w: %w", err, errUsage)
	case flags.NArg() > 0 || c.Name == "" || c.Node == "":
		return config{}, fmt.Errorf("want --driver, --node and --devices: %w", errUsage)
	}
	if c.Devices, err = deviceplugin.ParseDevices(*addresses); err != nil {
		return config{}, fmt.Errorf("%w: %w", err, errUsage)
	}
	return c, nil
}
