package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"rpcpool.dev/internal/version"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError marks an error of the caller's: a wrong flag, argument or input
// file. It ends the process with status 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usageErrorf returns an error that ends the process with status 2. It formats
// as fmt.Errorf does.
func usageErrorf(format string, a ...any) error {
	return usageError{fmt.Errorf(format, a...)}
}

// run executes the command line args (args[0] is the program's name) and
// returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return execRoot(ctx, newRootCommand(filepath.Base(args[0])), args[1:], stdout, stderr)
}

// execRoot executes a tree of commands and turns its error into a line on
// stderr and an exit status.
func execRoot(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	addCompletion(root)
	started := false
	markStart(root, &started)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !started {
		// What goes wrong before a command's own code runs is about its flags
		// and arguments, whoever found it.
		printError(stderr, fmt.Errorf("%w (see '%s --help')", err, cmd.CommandPath()))
		return exitUsage
	}
	if usage := (usageError{}); errors.As(err, &usage) {
		printError(stderr, err)
		return exitUsage
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	printError(stderr, err)
	return exitFailed
}

// printError prints each line of an error with the program's name, so that
// several problems are several complete lines.
func printError(w io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(w, "rpcpool: %s\n", strings.TrimRight(line, "\n"))
	}
}

func newRootCommand(program string) *cobra.Command {
	root := &cobra.Command{
		Use:   "rpcpool",
		Short: "Pools of fault-isolated RPC servers for Apache TVM clients",
		Long: `rpcpool runs pools of RPC servers that unchanged Apache TVM clients use and that
bad programs cannot break: a tracker that matches requests to free servers, and
servers that run every session in a worker process of its own.`,
		Example: `  # A tracker and four servers on this machine, from one manifest
  rpcpool local -f config/samples/rpcpool-local.yaml

  # What is free, what is busy, who waits
  rpcpool query --tracker 127.0.0.1:9190`,
		Version: version.Get().String(),

		SuggestionsMinimumDistance: 2,

		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noUnknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	if strings.HasPrefix(program, "kubectl-") {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl rpcpool"}
	}
	addLogFlags(root)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SetHelpCommand(newHelpCommand())
	root.AddCommand(subcommands()...)
	return root
}

// subcommands lists every command of the binary.
func subcommands() []*cobra.Command {
	return []*cobra.Command{
		server(newLocalCommand()),
		server(newTrackerCommand()),
		server(newServeCommand()),
		checked(newQueryCommand()),
		checked(newPingCommand()),
		checked(newBlobsCommand()),
		checked(newCallCommand()),
		checked(newTuneCommand()),
		checked(newPlotCommand()),
		newWorkerCommand(),
	}
}

// noUnknownCommand is the root's check of arguments: whatever is left over is
// a command that does not exist.
func noUnknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usageErrorf("unknown command %q; did you mean %q?", args[0], near[0])
	}
	return usageErrorf("unknown command %q", args[0])
}

// addCompletion adds cobra's completion command, which writes to what is the
// root's output now, and has it refuse shells that it does not know.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Args = noUnknownCommand
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}

func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usageErrorf("unknown command %q", strings.Join(args, " "))
			}
			return target.Help()
		},
	}
}

// markStart wraps every command so that *started tells whether a command's own
// code was reached.
func markStart(cmd *cobra.Command, started *bool) {
	if inner := cmd.RunE; inner != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return inner(cmd, args)
		}
	}
	for _, child := range cmd.Commands() {
		markStart(child, started)
	}
}

// logger returns the logger that --log-format and --log-level ask for, on the
// command's stderr.
func logger(cmd *cobra.Command) *slog.Logger {
	var options logOptions
	if f := cmd.Flag(flagLogFormat); f != nil {
		options.format, _ = f.Value.(*logFormat)
	}
	if f := cmd.Flag(flagLogLevel); f != nil {
		options.level, _ = f.Value.(*logLevel)
	}
	return options.logger(cmd.ErrOrStderr())
}
