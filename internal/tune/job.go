package tune

import (
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

// pollInterval is how often the tracker is asked for the pool's state.
const pollInterval = time.Second

// Job is a whole tuning job: search, trials, display.
type Job struct {
	Pool   Remote
	Trials int
	// Parallel is how many sessions to have at a time; 0: as many as there are
	// servers, free and busy, also of those that come later.
	Parallel int
	// Warmup is how many trials are random; 0: a quarter.
	Warmup int
	// ArraysEvery is that of [Options].
	ArraysEvery int
	Seed        uint64
	// Patience is how long to go on without a tracker, or without a server of the
	// key, at the beginning and later.
	Patience time.Duration
	// Record gets the trials as JSON lines; nil: nobody does.
	Record io.Writer
	// Progress gets the display.
	Progress io.Writer
}

// Result is what a job leaves behind.
type Result struct {
	Summary Summary
	Picture Picture
}

// Run runs the job until it is done, or ctx ends: that is no error once the
// first trial could begin. The result holds what was measured, even beside an
// error.
func (j Job) Run(ctx context.Context) (Result, error) {
	monitor := NewMonitor(j.Pool.Tracker, j.Pool.Key, pollInterval)
	state, err := monitor.Await(ctx, j.Patience, func(reason error) {
		fmt.Fprintf(j.Progress, "tune: waiting up to %s: %v\n", j.Patience, reason)
	})
	if err != nil {
		return Result{}, err
	}
	if j.Warmup == 0 {
		j.Warmup = max(j.Trials/4, 1)
	}
	space := NewSpace(j.Pool.Size)
	fmt.Fprintf(j.Progress, "tune: %s of key %q so far, %d configurations to search, seed %d\n",
		plural(state.Servers(), "server"), j.Pool.Key, space.Size(), j.Seed)
	tuner := NewTuner(Options{
		Pool: &j.Pool, Search: NewSearch(space, j.Warmup, j.Seed), Key: j.Pool.Key, Size: j.Pool.Size,
		Trials: j.Trials, Parallel: j.parallel(monitor), ArraysEvery: j.ArraysEvery,
		Patience: j.Patience, Record: j.Record,
	})
	start := time.Now()
	err = j.drive(ctx, tuner, monitor, start)
	return j.result(tuner, start, time.Since(start)), err
}

// parallel is how many sessions to have at a time.
func (j Job) parallel(m *Monitor) func() int {
	return func() int {
		if j.Parallel > 0 {
			return j.Parallel
		}
		state := m.State()
		return max(state.Free+state.Busy, 1)
	}
}

// drive runs the tuner with its monitor and its display.
func (j Job) drive(ctx context.Context, tuner *Tuner, monitor *Monitor, start time.Time) error {
	group, ctx := errgroup.WithContext(ctx)
	running, stop := context.WithCancel(ctx)
	group.Go(func() error {
		defer stop()
		return tuner.Run(ctx)
	})
	group.Go(func() error { return monitor.Run(running, j.Patience) })
	group.Go(func() error {
		Show(running, NewDisplay(j.Progress, j.Trials), func() Progress {
			return Progress{Status: tuner.Status(), Pool: monitor.State(), Elapsed: time.Since(start)}
		})
		return nil
	})
	return group.Wait() //nolint:wrapcheck // our own
}

func (j Job) result(tuner *Tuner, start time.Time, wall time.Duration) Result {
	trials := tuner.Trials()
	s := Summarise(trials, wall)
	s.Key, s.Size, s.Seed, s.Planned, s.Parallel = j.Pool.Key, j.Pool.Size, j.Seed, j.Trials, tuner.Status().Parallel
	return Result{
		Summary: s,
		Picture: Picture{Trials: trials, Start: start, Wall: wall, Size: j.Pool.Size, Key: j.Pool.Key},
	}
}

// ResultOf is the result of a job of which only the trials are known, at least
// one: it began with the first and ended with the last. Its seed and how many
// sessions it had at a time are not known.
func ResultOf(trials []Trial) Result {
	first := trials[0]
	start, end := first.Started, first.Ended
	for _, t := range trials {
		if t.Started.Before(start) {
			start = t.Started
		}
		if t.Ended.After(end) {
			end = t.Ended
		}
	}
	wall := end.Sub(start)
	s := Summarise(trials, wall)
	s.Key, s.Size, s.Planned = first.Key, first.Size, len(trials)
	return Result{
		Summary: s,
		Picture: Picture{Trials: trials, Start: start, Wall: wall, Size: first.Size, Key: first.Key},
	}
}
