//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"rpcpool.dev/internal/freeports"
	"rpcpool.dev/test/internal/proc"
)

// Times that the servers are started with: short, so that many run.
const (
	killGrace     = 150 * time.Millisecond
	reapTime      = 2 * time.Second
	handshakeTime = time.Second
	startTime     = 10 * time.Second
)

// deviceKey is what clients ask for.
const deviceKey = "chaos"

// Limits of workers, where the programs know them.
const (
	limitMemory    = 256 << 20
	limitProcesses = 500
	limitFiles     = 400
)

const (
	modeWarm     mode = "warm"
	modeCold     mode = "cold"
	modeWatchdog mode = "watchdog"
)

// fleet is everything that runs.
type fleet struct {
	bin, dir string
	keep     bool
	record   func(record)
	broke    func(violation)
	tracker  *unit
	address  string // the tracker's
	servers  []*server
	limits   bool // flags for limits are known

	units  sync.WaitGroup
	logs   sync.WaitGroup
	mu     sync.Mutex
	notes  map[string]int // warnings and errors by message
	agents map[int]bool   // process ids of all agents that sidecars ever met
}

// start starts a tracker and servers, and returns when all devices are free.
func (f *fleet) start(ctx context.Context, servers int, isolation string) error {
	f.notes, f.agents = map[string]int{}, map[int]bool{}
	first, err := freeports.Row(servers + 1)
	if err != nil {
		return err
	}
	help := f.help(ctx, proc.Sidecar, "--help")
	f.limits = strings.Contains(help, "-limit-memory")
	modes, err := modesOf(isolation, strings.Contains(help, "-isolation"))
	if err != nil {
		return err
	}
	f.address = fmt.Sprintf("127.0.0.1:%d", first)
	f.tracker = f.unit("tracker", -1, proc.CLI, "tracker", "--listen", f.address, "--log-format", "json")
	for i := range servers {
		f.servers = append(f.servers, f.server(i, modes[i%len(modes)], fmt.Sprintf("127.0.0.1:%d", first+1+i)))
	}
	for _, u := range f.all() {
		f.units.Go(u.run)
	}
	return nil
}

// help is what a program says of its flags.
func (f *fleet) help(ctx context.Context, program string, args ...string) string {
	out, _ := exec.CommandContext(ctx, filepath.Join(f.bin, program), args...).CombinedOutput()
	return string(out)
}

// unit prepares a program to be kept running.
func (f *fleet) unit(name string, server int, program string, args ...string) *unit {
	return &unit{name: name, server: server, path: filepath.Join(f.bin, program), args: args, fleet: f}
}

// all lists every unit.
func (f *fleet) all() []*unit {
	all := []*unit{f.tracker}
	for _, s := range f.servers {
		if s.pair() {
			all = append(all, s.agent)
		}
		all = append(all, s.sidecar)
	}
	return all
}

// pause is how long the keeper takes to start something again: often no time.
func (*fleet) pause() time.Duration {
	const most = 100
	return time.Duration(max(0, rand.IntN(2*most)-most)) * time.Millisecond //nolint:gosec // no secret
}

// note counts warnings.
func (f *fleet) note(l logLine) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.agent > 0 {
		f.agents[l.agent] = true
	}
	if l.level == "INFO" || l.level == "DEBUG" {
		return
	}
	f.notes[l.level+" "+l.msg]++
}

// wasAgent tells whether a process is, or was, an agent of ours.
func (f *fleet) wasAgent(pid int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.agents[pid]
}

// noted tells how often a message was logged.
func (f *fleet) noted(msg string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.notes["WARN "+msg]
}

// stop ends everything in order, and returns when it is gone and its logs are
// read, or after a while.
func (f *fleet) stop() error {
	for _, u := range f.all() {
		u.leave()
	}
	done := make(chan struct{})
	go func() {
		f.units.Wait()
		f.logs.Wait()
		close(done)
	}()
	const most = 20 * time.Second
	select {
	case <-done:
		return nil
	case <-time.After(most):
		for _, u := range f.all() {
			u.strike(syscall.SIGKILL)
		}
		return fmt.Errorf("not all programs ended within %s of SIGTERM", most)
	}
}
