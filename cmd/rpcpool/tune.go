package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"rpcpool.dev/internal/tune"
	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/matmul"
)

// standard is the name of standard input, or output, where a file's would be.
const standard = "-"

// tuneFlags are the flags of `rpcpool tune`.
type tuneFlags struct {
	job     tune.Job
	minTime time.Duration
	out     string
	plot    string
	output  outputFormat
}

func newTuneCommand() *cobra.Command {
	var f tuneFlags
	cmd := &cobra.Command{
		Use:   "tune --tracker HOST:PORT --key KEY [flags]",
		Short: "Tune a matrix product on the servers of a pool",
		Long: `Tune searches for the fastest way to multiply two matrices on the servers of a
key: tile sizes, loop order, unrolling and packing, first at random, then by
evolution. Every trial asks the tracker for a server, opens a session, measures
one configuration there and verifies the result; many run at a time. The workers
must have the function matmul.run; rpcpool-worker has it.

Some configurations crash the worker, some run into the session timeout. That is
a result like any other: the trial is recorded, the server is back in
milliseconds, and the search learns to keep away.

Progress goes to stderr, the summary to stdout. An interrupt ends the job with
what it has by then. The exit status is 0 if a valid configuration was found.`,
		Example: `  # 200 trials on the servers that have the key cpu, a picture of how it went
  rpcpool tune --tracker 127.0.0.1:9190 --key cpu --trials 200 --plot tune.svg

  # The same search again, trials as JSON lines, the summary for a script
  rpcpool tune --tracker 127.0.0.1:9190 --key cpu --seed 7 --out trials.jsonl -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.job.Pool.Tracker, "tracker", "", "`HOST:PORT` of the tracker (required)")
	flags.StringVar(&f.job.Pool.Key, "key", "", "device `KEY` of the servers (required)")
	flags.IntVar(&f.job.Trials, "trials", 200, "how many configurations to try")
	flags.IntVar(&f.job.Parallel, "parallel", 0, "sessions at a time; 0: as many as there are servers")
	flags.DurationVar(&f.job.Pool.Timeout, "timeout", 2*time.Second, "session timeout of a trial")
	flags.Float64Var(&f.job.Pool.Priority, "priority", 1, "priority in the tracker's queue, higher first")
	flags.IntVar(&f.job.Pool.Size, "size", 384, "rows and columns of the matrices")
	flags.DurationVar(&f.minTime, "min-time", 100*time.Millisecond, "repeat each product for this long")
	flags.IntVar(&f.job.ArraysEvery, "arrays-every", 8, "send the matrices and check every element of the product in one trial out of so many; 0: never")
	flags.IntVar(&f.job.Warmup, "warmup", 0, "random trials before evolution; 0: a quarter of all")
	flags.Uint64Var(&f.job.Seed, "seed", 0, "seed of the search; 0: a new one, which the summary tells")
	flags.DurationVar(&f.job.Patience, "wait", 15*time.Second, "how long to go on without the tracker or without a server of the key")
	flags.StringVar(&f.out, "out", "", "`FILE` for the trials, a JSON line each; -: standard output")
	flags.StringVar(&f.plot, "plot", "", "`FILE` for a picture of the job, .svg or .png")
	addOutputFlag(cmd, &f.output)
	for _, name := range []string{"tracker", "key"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flags are added above
		}
	}
	return cmd
}

func (f *tuneFlags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return usageError{err}
	}
	if f.job.Seed == 0 {
		f.job.Seed = 1 + rand.Uint64N(1e6) //nolint:gosec // easily typed again, not a secret
	}
	f.job.Pool.MinSeconds = f.minTime.Seconds()
	f.job.Progress = cmd.ErrOrStderr()
	if f.plot != "" {
		if err := writable(f.plot); err != nil {
			return fmt.Errorf("--plot: %w", err)
		}
	}
	record, err := f.record(cmd)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	result, err := f.job.Run(cmd.Context())
	err = errors.Join(err, record())
	if result.Summary.Trials > 0 {
		err = errors.Join(err, f.report(cmd.OutOrStdout(), result))
	}
	if err == nil && result.Summary.Best == nil {
		err = fmt.Errorf("no valid trial among %d", result.Summary.Trials)
	}
	return err
}

// record opens the file for the trials, if one is asked for, and returns what
// closes it.
func (f *tuneFlags) record(cmd *cobra.Command) (closeFile func() error, err error) {
	none := func() error { return nil }
	switch f.out {
	case "":
		return none, nil
	case standard:
		f.job.Record = cmd.OutOrStdout()
		return none, nil
	}
	file, err := os.Create(f.out)
	if err != nil {
		return nil, err
	}
	f.job.Record = file
	return file.Close, nil
}

// check reports the first flag whose value cannot be.
func (f *tuneFlags) check() error {
	j := &f.job
	if j.Pool.Tracker == "" { // by the environment, query goes; a job is told
		return errors.New("--tracker: want HOST:PORT")
	}
	if _, err := trackerAddr(j.Pool.Tracker); err != nil {
		return err
	}
	if err := tvm.ValidateDeviceKey(j.Pool.Key); err != nil {
		return fmt.Errorf("--key: %w", err)
	}
	for _, r := range []struct {
		flag          string
		value, lo, hi int
	}{
		{"--trials", j.Trials, 1, 1_000_000},
		{"--parallel", j.Parallel, 0, 10_000},
		{"--size", j.Pool.Size, 1, matmul.MaxN},
		{"--arrays-every", j.ArraysEvery, 0, 1_000_000},
		{"--warmup", j.Warmup, 0, 1_000_000},
	} {
		if r.value < r.lo || r.value > r.hi {
			return fmt.Errorf("%s %d: want %d to %d", r.flag, r.value, r.lo, r.hi)
		}
	}
	switch {
	case j.Pool.Timeout <= 0:
		return fmt.Errorf("--timeout %s: want more than 0", j.Pool.Timeout)
	case f.minTime < 0 || f.minTime > time.Minute:
		return fmt.Errorf("--min-time %s: want 0 to 1m", f.minTime)
	case math.IsNaN(j.Pool.Priority) || math.IsInf(j.Pool.Priority, 0):
		return fmt.Errorf("--priority %g: want a number", j.Pool.Priority)
	case j.Patience < 0:
		return fmt.Errorf("--wait %s: want 0 or more", j.Patience)
	}
	if f.plot != "" {
		if _, err := tune.PictureFormat(f.plot); err != nil {
			return fmt.Errorf("--plot: %w", err)
		}
	}
	return nil
}

// report prints the summary and draws the picture.
func (f *tuneFlags) report(w io.Writer, r tune.Result) error {
	err := printData(w, f.output, r.Summary, r.Summary.WriteTable)
	if f.plot == "" {
		return err
	}
	return errors.Join(err, writePicture(f.plot, r.Picture))
}

// writable reports early that a file could not be written later.
func writable(path string) error {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	return nil
}

// writePicture draws p to path. Nobody sees half a picture: it gets its name when
// it is complete.
func writePicture(path string, p tune.Picture) (err error) {
	format, err := tune.PictureFormat(path)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".tune-*."+format)
	if err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	err = errors.Join(p.Draw(file, format), file.Chmod(0o644), file.Close())
	if err != nil {
		return fmt.Errorf("picture %s: %w", path, err)
	}
	return os.Rename(file.Name(), path)
}
