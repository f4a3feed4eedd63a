// Command jobs is a master that hands jobs to workers, and to another worker when one does
// not answer. Jobs are declared idempotent: the log says which were run twice.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"rpcpool.dev/rpc"
)

// Job is what a worker does.
type Job struct{ Number int }

var doJob = rpc.Method[Job, int]("DoJob", rpc.Idempotent, rpc.AtLeastOnce(10*time.Second, 10))

// serve is a worker: it logs each job that it begins, and returns its square.
func serve(ctx context.Context, address, log string) error {
	s, err := rpc.NewServer(rpc.ServerOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	doJob.Handle(s, func(_ context.Context, j Job) (int, error) {
		if _, err := fmt.Fprintf(f, "%d\n", j.Number); err != nil {
			return 0, err
		}
		time.Sleep(2 * time.Millisecond) // it is work
		return j.Number * j.Number, nil
	})
	l, err := s.Listen(ctx, address)
	if err != nil {
		return err
	}
	return s.Serve(l)
}

func main() {
	jobs := flag.Int("jobs", 300, "how many jobs there are")
	workers := flag.Int("workers", 3, "how many workers do them")
	address := flag.String("serve", "", "be a worker at this address")
	log := flag.String("log", "", "where a worker logs its jobs")
	flag.Parse()
	ctx := context.Background()
	var err error
	if *address != "" {
		err = serve(ctx, *address, *log)
	} else {
		err = master(ctx, *jobs, *workers, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "jobs:", err)
		os.Exit(1)
	}
}

// worker starts a worker process at an address.
func worker(ctx context.Context, address, log string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-serve", address, "-log", log)
	cmd.Env = append(os.Environ(), "JOBS_WORKER=1")
	return cmd, cmd.Start()
}

func master(ctx context.Context, jobs, workers int, out io.Writer) error {
	dir, err := os.MkdirTemp("", "jobs")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	log := filepath.Join(dir, "log")
	addresses := make([]string, workers)
	running := make([]*exec.Cmd, workers)
	for i := range workers {
		addresses[i] = "unix:" + filepath.Join(dir, fmt.Sprint(i))
		if running[i], err = worker(ctx, addresses[i], log); err != nil {
			return err
		}
	}
	defer func() {
		for _, w := range running {
			_ = w.Process.Kill()
			_ = w.Wait()
		}
	}()
	c, err := rpc.Dial(rpc.ClientOptions{Failover: 50 * time.Millisecond}, addresses...)
	if err != nil {
		return err
	}
	defer c.Close()

	group := rpc.NewGroup(ctx, rpc.GroupOptions{Limit: 8})
	results := make([]*rpc.Future[int], jobs)
	killed := 0
	for i := range jobs {
		if i%100 == 50 { // a worker dies, and another takes its place
			w := rand.IntN(workers) //nolint:gosec // no secret
			_ = running[w].Process.Kill()
			_ = running[w].Wait()
			_ = os.Remove(strings.TrimPrefix(addresses[w], "unix:"))
			if running[w], err = worker(ctx, addresses[w], log); err != nil {
				return err
			}
			killed++
		}
		results[i] = doJob.SpawnIn(group, c, Job{i}) // any worker may do it, more than once if need be
	}
	if err := group.Sync(); err != nil {
		return err
	}
	for i, f := range results {
		if got, err := f.Get(ctx); err != nil || got != i*i {
			return fmt.Errorf("job %d: %d, %w", i, got, err)
		}
	}
	twice, err := runTwice(log)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d jobs are done, %d workers were killed\n", jobs, killed)
	fmt.Fprintf(out, "run twice, as DoJob is declared idempotent: %s\n", strings.Join(twice, " "))
	return nil
}

// runTwice returns the jobs that were begun more than once.
func runTwice(log string) (twice []string, err error) {
	f, err := os.Open(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	runs := map[string]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if runs[lines.Text()]++; runs[lines.Text()] == 2 {
			twice = append(twice, lines.Text())
		}
	}
	return twice, nil
}
