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
	"path/filepath"
	"syscall"
	"time"

	"rpcpool.dev/test/internal/proc"
)

// Exit statuses, those of all programs here.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// scenario is one experiment. Its flags carry their defaults.
type scenario interface {
	name() string
	about() string
	register(*flag.FlagSet)
	// modest reduces the sizes, for a run of all scenarios in a few minutes.
	modest()
	run(context.Context, *lab) error
}

// scenarios lists all, in the order of their numbers in docs/benchmarks.md.
func scenarios() []scenario {
	return []scenario{
		&grantScenario{}, &cyclesScenario{}, &idleScenario{}, &silentScenario{}, &stormScenario{}, &stockScenario{},
		&sessionScenario{}, &isolationScenario{}, &crashScenario{}, &deadlineScenario{}, &sessionsScenario{}, &poolScenario{}, &restartScenario{},
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return exitUsage
	}
	var err error
	switch name := args[0]; name {
	case "help", "-h", "--help", "-help":
		usage(stdout)
		return exitOK
	case floorCommand:
		err = runFloor(stdout)
	case hogCommand:
		err = runHog(ctx)
	case "all":
		err = runScenarios(ctx, name, scenarios(), true, args[1:], stdout, stderr)
	case "soak":
		err = runScenarios(ctx, name, []scenario{&soakScenario{}}, false, args[1:], stdout, stderr)
	default:
		s := find(name)
		if s == nil {
			fmt.Fprintf(stderr, "bench: unknown scenario %q (see 'bench help')\n", name)
			return exitUsage
		}
		err = runScenarios(ctx, name, []scenario{s}, false, args[1:], stdout, stderr)
	}
	return status(err, stderr)
}

// status prints an error and turns it into the exit status.
func status(err error, stderr io.Writer) int {
	var wrong usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return exitFailed
	}
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func find(name string) scenario {
	for _, s := range scenarios() {
		if s.name() == name {
			return s
		}
	}
	return nil
}

func usage(w io.Writer) {
	fmt.Fprintf(w, "usage: bench SCENARIO [flags], bench all [flags], bench SCENARIO -help\n\n")
	for _, s := range append(scenarios(), &soakScenario{}) {
		fmt.Fprintf(w, "  %-10s %s\n", s.name(), s.about())
	}
	fmt.Fprintf(w, "  %-10s %s\n", "all", "every scenario but soak, in modest sizes; also writes "+filepath.Join(defaultOut, "bench.md"))
}

// defaultOut is where a run of all scenarios leaves its report.
const defaultOut = "out/bench"

// settings are the flags that every scenario has.
type settings struct {
	bin    string
	json   string
	out    string
	doc    string
	strict bool
	keep   bool
	limit  time.Duration
}

func (o *settings) register(flags *flag.FlagSet, all bool) {
	flags.StringVar(&o.bin, "bin", "bin", "`DIR` of the programs; if it has none, they are built")
	flags.StringVar(&o.json, "json", "", "`FILE` to write the figures to as JSON")
	flags.BoolVar(&o.strict, "strict", false, "fail if a figure misses its target")
	flags.BoolVar(&o.keep, "keep", false, "keep the programs' logs")
	flags.DurationVar(&o.limit, "limit", 30*time.Minute, "give up after so long")
	if all {
		flags.StringVar(&o.out, "out", defaultOut, "`DIR` for bench.json and bench.md")
		flags.StringVar(&o.doc, "doc", "", "`FILE` whose figures, between its two marks, are to be replaced by these")
	}
}

// runScenarios parses the flags of a command and runs its scenarios.
func runScenarios(ctx context.Context, command string, chosen []scenario, all bool, args []string, stdout, stderr io.Writer) error {
	var o settings
	flags := flag.NewFlagSet("bench "+command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	o.register(flags, all)
	for _, s := range chosen {
		if !all {
			s.register(flags)
			continue
		}
		s.register(flag.NewFlagSet(s.name(), flag.ContinueOnError)) // for the defaults
		s.modest()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return usageError{err}
	}
	if flags.NArg() > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", flags.Arg(0))}
	}
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	return o.runAll(ctx, chosen, stdout, stderr)
}

// runAll runs the scenarios one after another and prints their report, also if
// one of them fails.
func (o *settings) runAll(ctx context.Context, chosen []scenario, stdout, stderr io.Writer) (err error) {
	if err := proc.AdoptOrphans(); err != nil {
		return err
	}
	if _, err := proc.RaiseFileLimit(); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "rpcpool-bench-")
	if err != nil {
		return fmt.Errorf("scratch directory: %w", err)
	}
	defer func() { err = errors.Join(err, o.discard(scratch, stderr)) }()
	bin, err := proc.FindPrograms(ctx, o.bin, scratch)
	if err != nil {
		return err
	}
	r := newReport()
	var errs []error
	for _, s := range chosen {
		if ctx.Err() != nil {
			break
		}
		l := &lab{scenario: s.name(), bin: bin, dir: scratch, report: r, progress: stderr}
		began := time.Now()
		if err := errors.Join(s.run(ctx, l), l.close()); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name(), err))
		}
		l.say("took %s", time.Since(began).Round(10*time.Millisecond))
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		errs = append(errs, fmt.Errorf("not done within -limit %s", o.limit))
	case ctx.Err() != nil:
		errs = []error{errors.New("interrupted")}
	}
	errs = append(errs, o.publish(r, stdout))
	if n := r.missed(); n > 0 && o.strict {
		errs = append(errs, fmt.Errorf("%d figures miss their targets", n))
	}
	return errors.Join(errs...)
}

// discard removes the scratch directory, unless it is to be kept.
func (o *settings) discard(scratch string, stderr io.Writer) error {
	if o.keep {
		fmt.Fprintf(stderr, "logs are in %s\n", scratch)
		return nil
	}
	if err := os.RemoveAll(scratch); err != nil {
		return fmt.Errorf("scratch directory: %w", err)
	}
	return nil
}

// publish prints the report and writes the files that are asked for.
func (o *settings) publish(r *report, stdout io.Writer) error {
	if len(r.Rows) == 0 {
		return nil
	}
	errs := []error{r.table(stdout)}
	if o.json != "" {
		errs = append(errs, r.writeJSON(o.json))
	}
	if o.out != "" {
		errs = append(errs,
			r.writeJSON(filepath.Join(o.out, "bench.json")),
			writeFile(filepath.Join(o.out, "bench.md"), r.markdown()))
	}
	if o.doc != "" {
		errs = append(errs, refreshFigures(o.doc, r.markdown()))
	}
	return errors.Join(errs...)
}
