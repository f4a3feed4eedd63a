package agent

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

// BenchmarkLimitedStart is [BenchmarkColdStart] of workers with limits: what
// each more control group costs. The kinds take turns, so that what else the
// machine does hits all of them; of each, the tenth percentile is reported.
func BenchmarkLimitedStart(b *testing.B) {
	grouped, bare := benchAgent(b), benchAgent(b, "--no-cgroup")
	kinds := []struct {
		name   string
		agent  *sidecar
		limits supervise.Limits
	}{
		{"no-groups", bare, supervise.Limits{}},
		{"no-limits", grouped, supervise.Limits{}},
		{"memory", grouped, supervise.Limits{Memory: 1 << 30}},
		{"processes", grouped, supervise.Limits{Processes: 100}},
		{"cpu", grouped, supervise.Limits{CPU: 2000}},
		{"all", grouped, supervise.Limits{CPU: 2000, Memory: 1 << 30, Processes: 100}},
	}
	took := make([][]time.Duration, len(kinds))
	for b.Loop() {
		for i, k := range kinds {
			start := testStart("/bin/sh", "-c", coldScript)
			start.Limits = k.limits
			began := time.Now()
			client := k.agent.cold("w", start, 0)
			expect(b, client, "\n")
			took[i] = append(took[i], time.Since(began))
			_ = client.Close()
			k.agent.await(supervise.EventExited, "w")
			k.agent.seen = nil
		}
	}
	for i, k := range kinds {
		slices.Sort(took[i])
		b.ReportMetric(float64(took[i][len(took[i])/10].Microseconds()), k.name+"-µs")
	}
}

// BenchmarkWalk is one measuring of a work directory with 10,000 files.
func BenchmarkWalk(b *testing.B) {
	dir := b.TempDir()
	for i := range 100 {
		sub := filepath.Join(dir, fmt.Sprint(i))
		if err := unix.Mkdir(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range 100 {
			fd, err := unix.Open(filepath.Join(sub, fmt.Sprint(j)), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
			if err != nil {
				b.Fatal(err)
			}
			_ = unix.Close(fd)
		}
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	for b.Loop() {
		w := &walk{limit: 1 << 62, rest: func() bool { return true }}
		if !w.dir(fd) || w.entries != 10_100 {
			b.Fatal(w.entries)
		}
	}
}
