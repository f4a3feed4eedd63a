//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"rpcpool.dev/test/internal/proc"
)

// strays lists our children that are no program of ours, zombies too, and
// zombies anywhere below us.
func (f *fleet) strays() (list []string) {
	all, err := proc.Descendants(os.Getpid())
	if err != nil {
		return []string{err.Error()}
	}
	ours := f.pids()
	for _, p := range all {
		if p.State == 'Z' || p.Parent == os.Getpid() && !slices.Contains(ours, p.PID) {
			list = append(list, fmt.Sprintf("%d (%s, %c) below %d", p.PID, proc.Argument0(p.PID), p.State, p.Parent))
		}
	}
	return list
}

func (f *fleet) pids() (pids []int) {
	for _, u := range f.all() {
		pids = append(pids, u.running())
	}
	return pids
}

// reap buries, in the place of init, what lost its parent and has ended. It
// reaps what it saw twice: a program that has just been started and is dead is
// its keeper's.
func (f *fleet) reap(ctx context.Context) {
	seen := 0
	for ; ctx.Err() == nil; pause(ctx, reapEvery) {
		pid := proc.Ended()
		for pid > 0 && pid == seen && !slices.Contains(f.pids(), pid) {
			proc.Reap(pid)
			pid = proc.Ended()
		}
		seen = pid
	}
}

const reapEvery = 20 * time.Millisecond
