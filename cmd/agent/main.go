// Command agent (rpcpool-agent) is the program above the workers: PID 1 of a
// device container, or a child of the server on a bare machine. It starts
// workers for the sidecar that connects to its socket, keeps their deadlines,
// kills their whole process trees and reaps them; package
// [rpcpool.dev/sidecar/supervise/agent] has the rest. As `rpcpool-agent install`
// it copies itself to where such a container finds it.
//
// Exit status: 0 stopped in order, 1 failed, 2 wrong usage; of an agent below a
// guard (--die-with-parent) 128 and the signal's number if a signal killed it.
// Logs go to stderr.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"rpcpool.dev/internal/version"
	"rpcpool.dev/sidecar/supervise/agent"
)

const usage = `rpcpool-agent starts, watches and kills the workers of one device for the sidecar
that connects to its socket.

Usage:
  rpcpool-agent --socket PATH --work-root DIR [flags] [-- CMD ARGS...]
  rpcpool-agent install DIR [NAME...]

Examples:
  rpcpool-agent --socket /run/rpcpool/agent.sock --work-root /var/lib/rpcpool -- python3 /opt/worker.py
  rpcpool-agent install /run/rpcpool rpcpool-worker

install copies this program, and programs NAME beside it, into DIR and ends: for
the init container of a device pod.

CMD is the worker where the sidecar names none. Its program is looked for in PATH,
and then beside the agent's. A worker runs in a fresh work directory under DIR, so
paths among its arguments should be absolute.

Flags:
  --socket PATH            Unix socket (SOCK_SEQPACKET) for the sidecar
  --work-root DIR          where the workers' work directories are made
  --core-dir DIR           keep the latest core dumps of workers there; without it
                           they go with the work directory
  --drain-timeout D        how long sessions in progress may go on after SIGTERM (0s:
                           they are killed at once)
  --no-cgroup              do not use control groups, even where it is possible
  --die-with-parent        stop when the parent process ends, or when standard
                           input does if it is a pipe or a socket; run below a
                           guard, which kills what is left if the agent crashes,
                           ends last, and kills the agent at SIGQUIT
  --log-format text|json   format of the log on stderr (text)
  --log-level LEVEL        least level that is logged: debug, info, warn, error (info)
  --version                print the version
  --help                   print this
`

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// gcPercent keeps the heap of a program that has next to nothing on it from
// growing to the 4 MiB at which Go would first collect. It shares the device
// container's memory with what is measured there.
const gcPercent = 25

func main() {
	agent.MaybeExec()
	debug.SetGCPercent(gcPercent)
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes the command line and returns the exit status.
func run(ctx context.Context, args []string, stdin *os.File, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == installCommand {
		return runInstall(args[1:], stderr)
	}
	c, err := parse(args)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "rpcpool-agent: %v (see rpcpool-agent --help)\n", err)
		return exitUsage
	case c.help:
		_, _ = io.WriteString(stdout, usage)
		return exitOK
	case c.version:
		_, _ = fmt.Fprintln(stdout, version.Get())
		return exitOK
	}
	c.options.Logger = c.log.Logger(stderr)
	if err := serve(ctx, c, stdin); err != nil {
		fmt.Fprintf(stderr, "rpcpool-agent: %v\n", err)
		return exitFailed
	}
	return exitOK
}

func runInstall(args []string, stderr io.Writer) int {
	err := install(args)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "rpcpool-agent: %v\n", err)
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

func serve(ctx context.Context, c config, stdin *os.File) error {
	if c.dieWithParent {
		// Before signals are caught: until then they may end the process,
		// which after an exec would have forgotten them.
		if err := agent.Guarded(c.log); err != nil {
			return fmt.Errorf("--die-with-parent: %w", err)
		}
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if c.dieWithParent {
		watched, stop, err := agent.WithParent(ctx, stdin)
		if err != nil {
			return fmt.Errorf("--die-with-parent: %w", err)
		}
		defer stop()
		ctx = watched
	}
	err := agent.Run(ctx, c.options)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		c.options.Logger.Info("agent stopped", "reason", cause)
	}
	return err //nolint:wrapcheck // says what it is
}

// config is a parsed command line.
type config struct {
	options       agent.Options
	dieWithParent bool
	log           agent.LogOptions
	help, version bool
}

// parse reads the command line; its errors are the caller's mistakes.
func parse(args []string) (config, error) {
	var c config
	flags := flag.NewFlagSet("rpcpool-agent", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&c.options.Socket, "socket", "", "")
	flags.StringVar(&c.options.WorkRoot, "work-root", "", "")
	flags.StringVar(&c.options.CoreDir, "core-dir", "", "")
	flags.DurationVar(&c.options.DrainTimeout, "drain-timeout", 0, "")
	flags.BoolVar(&c.options.NoCgroup, "no-cgroup", false, "")
	flags.BoolVar(&c.dieWithParent, "die-with-parent", false, "")
	flags.BoolVar(&c.version, "version", false, "")
	flags.Func("log-format", "", c.setFormat)
	flags.Func("log-level", "", c.setLevel)
	args, command, separated := cutCommand(args)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		c.help = true
		return c, nil
	case err != nil:
		return c, err //nolint:wrapcheck // names the flag
	case c.version:
		return c, nil
	case flags.NArg() > 0:
		return c, fmt.Errorf("unexpected argument %q: the worker's command goes after --", flags.Arg(0))
	case separated && len(command) == 0:
		return c, errors.New("no command after --")
	case c.options.Socket == "":
		return c, errors.New("--socket is required")
	case c.options.WorkRoot == "":
		return c, errors.New("--work-root is required")
	case c.options.DrainTimeout < 0:
		return c, fmt.Errorf("--drain-timeout: %s is negative", c.options.DrainTimeout)
	}
	c.options.Command = command
	return c, nil
}

// cutCommand splits the arguments at the first "--".
func cutCommand(args []string) (flags, command []string, separated bool) {
	for i, arg := range args {
		if arg == "--" {
			return args[:i], args[i+1:], true
		}
	}
	return args, nil, false
}

func (c *config) setFormat(s string) error {
	switch strings.ToLower(s) {
	case "text":
		c.log.JSON = false
	case "json":
		c.log.JSON = true
	default:
		return errors.New("want text or json")
	}
	return nil
}

func (c *config) setLevel(s string) error {
	switch strings.ToLower(s) {
	case "debug", "info", "warn", "error":
		return c.log.Level.UnmarshalText([]byte(s)) //nolint:wrapcheck // cannot fail: just checked
	default:
		return errors.New("want debug, info, warn or error")
	}
}
