//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rpcpool.dev/test/internal/proc"
)

// vitals are what must not grow: how much of everything a set of programs holds.
type vitals struct {
	descriptors int     // of services, servers and agents
	goroutines  int     // of services and servers
	processes   int     // below them, zombies too
	zombies     int     // of these
	files       int     // and directories in the servers' data directories
	resident    float64 // bytes, of services, servers and agents

	kinds map[string]int // descriptors by program and kind: says what grew
}

// takeVitals looks at the programs now: at what serves sessions, and at the other services.
func takeVitals(ctx context.Context, services []*service, servers []*server) (v vitals, err error) {
	v.kinds = map[string]int{}
	for _, s := range servers {
		services = append(services[:len(services):len(services)], &s.service)
		agent, err := s.agentPid()
		if err != nil {
			return v, err
		}
		if err := v.addProcess("agent of "+s.name, agent); err != nil {
			return v, err
		}
		if err := v.addFiles(s); err != nil {
			return v, err
		}
	}
	for _, s := range services {
		if err := v.addTree(s); err != nil {
			return v, err
		}
		if err := v.addProcess(s.name, s.pid()); err != nil {
			return v, fmt.Errorf("%s: %w", s.name, err)
		}
		metrics, err := scrape(ctx, s.metrics)
		if err != nil {
			return v, fmt.Errorf("%s: %w", s.name, err)
		}
		v.goroutines += int(metrics["go_goroutines"])
	}
	return v, nil
}

func (v *vitals) addProcess(name string, pid int) error {
	files, err := proc.OpenFiles(pid)
	if err != nil {
		return err
	}
	rss, err := proc.ResidentBytes(pid)
	v.descriptors += len(files)
	for _, file := range files {
		kind, _, _ := strings.Cut(file, ":[") // socket:[123] and pipe:[123] are one kind each
		v.kinds[name+": "+kind]++
	}
	v.resident += rss
	return err
}

// grown lists the kinds of descriptors that there are more of than before.
func (v vitals) grown(before vitals) string {
	var list []string
	for kind, n := range v.kinds {
		if more := n - before.kinds[kind]; more > 0 {
			list = append(list, fmt.Sprintf("%d more of %s", more, kind))
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func (v *vitals) addTree(s *service) error {
	below, err := proc.Descendants(s.pid())
	if err != nil {
		return err
	}
	v.processes += len(below)
	for _, d := range below {
		if d.State == 'Z' {
			v.zombies++
		}
	}
	return nil
}

func (v *vitals) addFiles(s *server) error {
	err := filepath.WalkDir(s.data, func(_ string, _ fs.DirEntry, err error) error {
		v.files++
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// exceeds tells whether there is more of anything that is counted than there
// was before. Memory is not counted: it has no exact size.
func (v vitals) exceeds(before vitals) bool {
	now, then := v.counts(), before.counts()
	for i := range now {
		if now[i] > then[i] {
			return true
		}
	}
	return false
}

// counts are the numbers that must not grow.
func (v vitals) counts() [5]int {
	return [5]int{v.zombies, v.processes, v.descriptors, v.files, v.goroutines}
}

// settled takes vitals until two in a row are the same, or, given those from
// before, until nothing exceeds them; after within it takes what there is.
func settled(ctx context.Context, within time.Duration, before *vitals, services []*service, servers []*server) (v vitals, err error) {
	deadline := time.Now().Add(within)
	last := vitals{descriptors: -1}
	for {
		if v, err = takeVitals(ctx, services, servers); err != nil {
			return v, err
		}
		same := v.counts() == last.counts()
		if before == nil && same && v.zombies == 0 || before != nil && !v.exceeds(*before) || time.Now().After(deadline) {
			return v, nil
		}
		last = v
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
}

// leakRows are what grew, one row each; none may.
func leakRows(before, after vitals, what string) []*row {
	now, then := after.counts(), before.counts()
	rows := make([]*row, len(now))
	for i, name := range []string{"zombies", "processes", "descriptors", "files and directories", "goroutines"} {
		note := fmt.Sprintf("%d before, %d after", then[i], now[i])
		if name == "descriptors" && now[i] > then[i] {
			note += ": " + after.grown(before)
		}
		rows[i] = number(fmt.Sprintf("%s left behind by %s", name, what), count, float64(max(0, now[i]-then[i]))).
			atMost(ofValue, 0).noted("%s", note)
	}
	return rows
}
