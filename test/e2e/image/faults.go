//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"rpcpool.dev/test/e2e/image/faults"
)

func faultsCommand(ctx context.Context, args []string, stdout io.Writer) error {
	name, rest := "", args
	if len(args) > 0 {
		name, rest = args[0], args[1:]
	}
	switch name {
	case "list":
		return faultsList(rest, stdout)
	case "kill":
		return faultsKill(rest, stdout)
	case "mounts":
		return faultsInside(name, faults.Node.Mounts, rest, stdout)
	case "environ":
		return faultsInside(name, faults.Node.Environment, rest, stdout)
	case "offer":
		return faultsInside(name, faults.Node.Offer, rest, stdout)
	case "sleep":
		return pause(ctx)
	}
	return fmt.Errorf("faults %q: want list, kill, mounts, environ, offer or sleep: %w", name, errUsage)
}

func faultsList(args []string, stdout io.Writer) error {
	flags := newFlags("faults list")
	container := flags.String("container", "", "")
	proc := flags.String("proc", "/proc", "")
	if err := parse(flags, args, 0); err != nil {
		return err
	}
	all, err := faults.Node{Proc: *proc}.Processes(*container)
	if err != nil {
		return err //nolint:wrapcheck // names the container
	}
	return printJSON(stdout, faults.Tree(all))
}

// faultsInside prints what one of a container's processes sees.
func faultsInside[T any](name string, look func(n faults.Node, container string) (T, error), args []string, stdout io.Writer) error {
	flags := newFlags("faults " + name)
	container := flags.String("container", "", "")
	proc := flags.String("proc", "/proc", "")
	if err := parse(flags, args, 0); err != nil {
		return err
	}
	seen, err := look(faults.Node{Proc: *proc}, *container)
	if err != nil {
		return err //nolint:wrapcheck // names the container
	}
	return printJSON(stdout, seen)
}

func faultsKill(args []string, stdout io.Writer) error {
	flags := newFlags("faults kill")
	var target faults.Target
	flags.StringVar(&target.Container, "container", "", "")
	flags.StringVar(&target.Process, "process", "", "")
	flags.BoolVar(&target.Init, "init", false, "")
	flags.IntVar(&target.PID, "pid", 0, "")
	signal := flags.Int("signal", int(unix.SIGKILL), "")
	proc := flags.String("proc", "/proc", "")
	if err := parse(flags, args, 0); err != nil {
		return err
	}
	chosen := 0
	for _, is := range []bool{target.Process != "", target.Init, target.PID != 0} {
		if is {
			chosen++
		}
	}
	const most = 64
	switch {
	case chosen > 1:
		return fmt.Errorf("faults kill: one of --process, --init, --pid: %w", errUsage)
	case *signal < 1 || *signal > most:
		return fmt.Errorf("faults kill: --signal: want 1 to %d: %w", most, errUsage)
	}
	report, err := faults.Node{Proc: *proc}.Kill(target, unix.Signal(*signal))
	if len(report.Hits) > 0 { // even if others could not be hit
		err = errors.Join(err, printJSON(stdout, report))
	}
	return err //nolint:wrapcheck // names the container
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
