//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"

	"rpcpool.dev/test/internal/proc"
)

// What the programs of a device's pod may have in memory while nothing happens.
const (
	sidecarTarget = 20 << 20
	agentTarget   = 10 << 20
)

// footprint measures the memory of idle programs: a tracker that has worked, and
// the two programs of a device's pod, started as there, each on its own.
func footprint(ctx context.Context, l *lab, tracker *service) error {
	const key = "footprint"
	p, err := l.startAgent()
	if err != nil {
		return err
	}
	if err := l.startSidecar(ctx, p, key, tracker.addr); err != nil {
		return err
	}
	if err := awaitFree(ctx, tracker.addr, key, 1); err != nil {
		return err
	}
	for _, program := range []struct {
		name  string
		of    *process
		limit float64
	}{
		{"the tracker", tracker.process, 0},
		{"a sidecar", p.sidecar.process, sidecarTarget},
		{"an agent", p.agent, agentTarget},
	} {
		rss, err := proc.ResidentBytes(program.of.pid())
		if err != nil {
			return err
		}
		private, err := proc.FieldKiB(fmt.Sprintf("/proc/%d/status", program.of.pid()), "RssAnon:")
		if err != nil {
			return err
		}
		r := number("idle memory of "+program.name, bytesUnit, rss).
			noted("resident; %s of it are its own, the rest is the program's file", bytesUnit.text(private*1024))
		if program.limit > 0 {
			r.atMost(ofValue, program.limit)
		}
		l.add(r)
	}
	return errors.Join(l.stop(p.sidecar.process), l.stop(p.agent))
}
