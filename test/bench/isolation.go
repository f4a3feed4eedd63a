//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

// isolationScenario measures the same figures for every way to run a session: a
// worker started with it, a spare started ahead, and a long-lived one. Their
// floor is what no supervisor that makes a process can do without: a bare fork,
// exec and wait of /bin/true.
type isolationScenario struct {
	n       int
	busy    int
	timeout time.Duration
	grace   time.Duration
}

const (
	detectTarget  = 2 * time.Millisecond
	recoverTarget = 10 * time.Millisecond
	bareIs        = "a bare fork, exec and wait of /bin/true, in turns with it"
)

func (*isolationScenario) name() string { return "isolation" }
func (*isolationScenario) about() string {
	return "cold, warm and long-lived workers: start, crash, recovery, deadline with busy cores"
}
func (s *isolationScenario) modest() { s.n, s.busy = 100, 40 }
func (s *isolationScenario) register(flags *flag.FlagSet) {
	flags.IntVar(&s.n, "n", 300, "sessions of each kind")
	flags.IntVar(&s.busy, "busy", 100, "sessions of each kind with busy cores")
	flags.DurationVar(&s.timeout, "timeout", 700*time.Millisecond, "what each client asks for, with busy cores")
	flags.DurationVar(&s.grace, "grace", 200*time.Millisecond, "time between SIGTERM and SIGKILL")
}

// isolationMode is a way to run a session.
type isolationMode struct {
	name    string
	flags   []string
	recover time.Duration // target; 0: none
}

func isolationModes() []isolationMode {
	return []isolationMode{
		{"cold", []string{"--warm", "0"}, 0},
		{"warm", []string{"--warm", "1"}, recoverTarget},
		{"watchdog", []string{"--isolation", "watchdog"}, 0},
	}
}

func (s *isolationScenario) run(ctx context.Context, l *lab) error {
	tracker, err := l.tracker(ctx)
	if err != nil {
		return err
	}
	floor, err := l.floor(ctx)
	if err != nil {
		return err
	}
	for _, m := range isolationModes() {
		key := "iso-" + m.name
		server, err := l.serve(ctx, key, tracker.addr, append(m.flags, "--kill-grace", s.grace.String())...)
		if err != nil {
			return err
		}
		if err := s.mode(ctx, l, m, key, tracker.addr, floor.addr); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if err := l.stop(server.process); err != nil {
			return err
		}
	}
	return s.withBusyCores(ctx, l, tracker.addr, floor.addr)
}

// mode measures a mode on a machine that is idle otherwise.
func (s *isolationScenario) mode(ctx context.Context, l *lab, m isolationMode, key, tracker, floor string) error {
	var bare sample
	first := &sessionBench{key: key, pause: breather, floor: floor, beside: bareProcess(&bare)}
	if err := first.run(ctx, tracker, s.n); err != nil {
		return err
	}
	l.add(latencies("grant → first call answered, "+m.name, &first.first).above(&bare, bareIs))

	bare = sample{}
	crashes := &crashBench{
		key: key, floor: floor, pause: breather, function: "test.segfault", beside: bareProcess(&bare), watch: true,
	}
	if err := crashes.run(ctx, tracker, s.n); err != nil {
		return err
	}
	l.add(latencies("worker dead → its end taken by the agent, "+m.name, &crashes.detected).
		above(&bare, bareIs).atMost(ofP50, detectTarget.Seconds()))
	l.add(latencies("crashing call sent → its client told, "+m.name, &crashes.told).above(&bare, bareIs))
	next := latencies("crashing call sent → next client's first call answered, "+m.name, &crashes.next).above(&bare, bareIs)
	if m.recover > 0 {
		next.atMost(ofP50, m.recover.Seconds())
	}
	l.add(next)
	return nil
}

// withBusyCores measures how exactly deadlines are kept while every core is busy:
// with the sessions themselves, which compute until they are killed, and then
// with as many other programs besides.
func (s *isolationScenario) withBusyCores(ctx context.Context, l *lab, tracker, floor string) error {
	for _, m := range isolationModes() {
		var servers []*process
		key := "busy-" + m.name
		for range runtime.NumCPU() {
			server, err := l.serve(ctx, key, tracker, append(m.flags, "--kill-grace", s.grace.String())...)
			if err != nil {
				return err
			}
			servers = append(servers, server.process)
		}
		if err := s.late(ctx, l, key, tracker, floor, "every core busy, "+m.name, true); err != nil {
			return err
		}
		hogs, err := startHogs(l)
		if err != nil {
			return err
		}
		if err := s.late(ctx, l, key, tracker, floor, "every core busy twice over, "+m.name, false); err != nil {
			return err
		}
		for _, p := range append(servers, hogs...) {
			if err := l.stop(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// late runs sessions into their deadline, on all servers at a time.
func (s *isolationScenario) late(ctx context.Context, l *lab, key, tracker, floor, how string, aim bool) error {
	b := &deadlineBench{key: key, timeout: s.timeout, function: "test.spin", floor: floor}
	if err := b.run(ctx, tracker, runtime.NumCPU(), s.busy); err != nil {
		return fmt.Errorf("%s: %w", how, err)
	}
	r := latencies("killed and told after the deadline, endless loop, "+how, &b.late).
		above(&b.raw, fmt.Sprintf("a plain process asked over TCP to answer after %s: how late it is", s.timeout)).
		noted("%d of %d sessions were told before their deadline", b.early, len(b.late.values))
	if aim {
		r.atMost(ofP99, deadlineTarget.Seconds())
	}
	l.add(r)
	return nil
}

// startHogs starts a program for each core that computes without end.
func startHogs(l *lab) (hogs []*process, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start a busy process: %w", err)
	}
	for range runtime.NumCPU() {
		hog, err := l.start("hog", self, hogCommand)
		if err != nil {
			return nil, err
		}
		hogs = append(hogs, hog)
	}
	return hogs, nil
}

// hogCommand is the hidden subcommand that computes until it is told to stop.
const hogCommand = "hog"

func runHog(ctx context.Context) error {
	for ctx.Err() == nil {
		for range 1 << 20 {
		}
	}
	return nil
}

// bareProcess returns a measurement of the floor, to be made beside another.
func bareProcess(into *sample) func() error {
	return func() error {
		began := time.Now()
		pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{})
		if err != nil {
			return fmt.Errorf("floor: start /bin/true: %w", err)
		}
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
			return fmt.Errorf("floor: wait for /bin/true: %w", err)
		}
		into.add(time.Since(began))
		return nil
	}
}
