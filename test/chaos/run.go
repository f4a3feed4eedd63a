//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"rpcpool.dev/test/internal/proc"
)

// chaos is one run.
type chaos struct {
	options
	stderr io.Writer
	fleet  *fleet
	book   *book
	make   *generator
	bounds bounds

	began  time.Time
	number atomic.Int64 // of the last session begun
	before census
	after  census
	rate   float64 // sessions a second, in the part with kills
}

// run runs everything and prints the result.
func (o options) run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	if err := errors.Join(proc.AdoptOrphans(), raiseLimit()); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "rpcpool-chaos-")
	if err != nil {
		return fmt.Errorf("scratch directory: %w", err)
	}
	defer func() { err = errors.Join(err, o.discard(scratch, stderr)) }()
	bin, err := proc.FindPrograms(ctx, o.bin, scratch)
	if err != nil {
		return err
	}
	truth, closeTruth, err := o.truth(scratch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeTruth()) }()
	c := &chaos{options: o, stderr: stderr, began: time.Now(), bounds: bounds{
		grace: killGrace, reap: reapTime, start: startTime,
		before: 500 * time.Millisecond, after: 500 * time.Millisecond, slack: 5 * time.Second,
	}}
	c.book = newBook(c.bounds, o.servers, truth)
	c.fleet = &fleet{bin: bin, dir: scratch, keep: o.keep, record: c.book.record, broke: c.book.broke}
	c.say("seed %d, %d sessions on %d devices by %d clients", o.seed, o.sessions, o.servers, o.clients)
	runErr := c.all(ctx)
	c.book.finish()
	return errors.Join(runErr, c.publish(stdout))
}

func raiseLimit() error {
	_, err := proc.RaiseFileLimit()
	return err
}

// truth opens the file of the ground truth, if it is to be kept.
func (o options) truth(dir string) (io.Writer, func() error, error) {
	if !o.keep {
		return nil, func() error { return nil }, nil
	}
	f, err := os.Create(filepath.Join(dir, "truth.jsonl"))
	if err != nil {
		return nil, nil, fmt.Errorf("ground truth: %w", err)
	}
	w := bufio.NewWriter(f)
	return w, func() error { return errors.Join(w.Flush(), f.Close()) }, nil
}

// discard removes the scratch directory, unless it is to be kept.
func (o options) discard(scratch string, stderr io.Writer) error {
	if o.keep {
		fmt.Fprintf(stderr, "logs and the ground truth are in %s\n", scratch)
		return nil
	}
	if err := os.RemoveAll(scratch); err != nil {
		return fmt.Errorf("scratch directory: %w", err)
	}
	return nil
}

func (c *chaos) say(format string, a ...any) {
	fmt.Fprintf(c.stderr, "chaos %6.1fs: %s\n", time.Since(c.began).Seconds(), fmt.Sprintf(format, a...))
}

// Lengths of the parts of a run.
const (
	warmUp        = 200 // sessions without kills before the first census, at most a quarter of all
	quiesceTime   = 15 * time.Second
	comeUpTime    = 30 * time.Second
	progressEvery = 5 * time.Second
)

// chaos makes the sessions that are left, while the killer kills.
func (c *chaos) chaos(ctx context.Context) {
	killing, stop := context.WithCancel(ctx)
	defer stop()
	var killers sync.WaitGroup
	if c.killEvery > 0 {
		killers.Go(func() { newKiller(c.fleet, c.book, c.seed, c.killEvery).run(killing) })
	}
	c.work(ctx, c.sessions-int(c.number.Load()))
	stop()
	killers.Wait()
}
