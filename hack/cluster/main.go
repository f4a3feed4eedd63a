package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
)

const usage = `A real Kubernetes cluster on this machine.

  cluster up [--nodes 2] --control DIR --node DIR --runtime DIR [--image FILE.tar]…
  cluster down                     end it, and remove every trace
  cluster status                   machines and services
  cluster load FILE.tar…           import images into every node
  cluster power-cut MACHINE        cut its cable, then end everything in it at once
  cluster boot MACHINE             start it again, with the disk that it had
  cluster kill MACHINE SERVICE     SIGKILL to one of its services, such as kubelet
  cluster exec MACHINE -- CMD…     run a program inside

Before the command: --dir DIR, where the cluster's state is.

Example:

  cluster --dir ~/.cache/rpcpool/cluster up --control bin/control --node bin/node --runtime bin/runtime
  kubectl --kubeconfig ~/.cache/rpcpool/cluster/kubeconfig get nodes
`

// errUsage is an error of whoever typed the command.
var errUsage = errors.New("see cluster --help")

// firstInherited is the first descriptor after the standard ones.
const firstInherited = 3

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// What runs on is not to hold what its starter has open, such as a lock.
	err := unix.CloseRange(firstInherited, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		err = run(ctx, os.Args[1:], os.Stdout)
	}
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(exitUsage) //nolint:gocritic // nothing is left to be stopped
	default:
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(exitFailed)
	}
}

// defaultDir is where the state of a cluster is if nobody says otherwise.
func defaultDir() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "rpcpool", "cluster")
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dir := flags.String("dir", defaultDir(), "")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(out, usage)
		return nil
	} else if err != nil {
		return fmt.Errorf("%w: %w", err, errUsage)
	}
	path, err := filepath.Abs(*dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	c := &cluster{dir: path, out: out}
	command, rest := flags.Arg(0), flags.Args()
	if len(rest) > 0 {
		rest = rest[1:]
	}
	switch command {
	case "up":
		return c.upCommand(ctx, rest)
	case "down":
		return c.down(ctx)
	case "status":
		return c.status()
	case "load":
		return c.load(ctx, rest)
	case "power-cut", "boot", "kill", "exec", initCommand:
		return c.machineCommand(ctx, command, rest)
	}
	return fmt.Errorf("unknown command %q: %w", command, errUsage)
}

// machineCommand runs the commands that are about one machine.
func (c *cluster) machineCommand(ctx context.Context, command string, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s which machine? %w", command, errUsage)
	}
	if err := c.read(); err != nil {
		return err
	}
	m, err := c.machine(args[0])
	if err != nil {
		return err
	}
	switch command {
	case initCommand:
		return m.init(ctx)
	case "power-cut":
		return m.powerCut(ctx)
	case "boot":
		return m.boot(ctx)
	case "kill":
		if len(args) != 2 {
			return fmt.Errorf("kill which service of %s? %w", m.name, errUsage)
		}
		return m.killService(args[1])
	}
	return m.exec(args[1:])
}

// images is a flag that can be given several times.
type images []string

func (i *images) String() string     { return strings.Join(*i, " ") }
func (i *images) Set(s string) error { *i = append(*i, s); return nil }

func (c *cluster) upCommand(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.IntVar(&c.spec.Nodes, "nodes", 2, "")
	flags.StringVar(&c.spec.Control, "control", "", "")
	flags.StringVar(&c.spec.Node, "node", "", "")
	flags.StringVar(&c.spec.Runtime, "runtime", "", "")
	var tars images
	flags.Var(&tars, "image", "")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("up: %w: %w", err, errUsage)
	}
	if c.spec.Nodes < 1 || c.spec.Nodes > maxNodes {
		return fmt.Errorf("up: %d nodes; 1 to %d are possible: %w", c.spec.Nodes, maxNodes, errUsage)
	}
	for _, dir := range []*string{&c.spec.Control, &c.spec.Node, &c.spec.Runtime} {
		if *dir == "" {
			return fmt.Errorf("up: --control, --node and --runtime say where the programs are: %w", errUsage)
		}
		path, err := filepath.Abs(*dir)
		if err != nil {
			return fmt.Errorf("up: %w", err)
		}
		*dir = path
	}
	return c.up(ctx, tars)
}
