//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	pb "rpcpool.dev/rpc/grpcdoor/rpcpoolv1"
	"rpcpool.dev/test/internal/proc"
)

// soakScenario sends random bytes and mutated valid input to every port for a
// while, and has good peers served meanwhile. Unlike the others it is a test:
// it fails if a program died or grew, or if a good peer had to wait.
type soakScenario struct {
	duration time.Duration
	seed     uint64
	rate     int
	out      io.Writer
}

// What a soak allows.
const (
	residentSlack   = 32 << 20 // growth of all programs together: heaps have no exact size
	residentFactor  = 1.5
	soakWarmUpShare = 5 // the first fifth, at most soakWarmUp, comes before the first look
	soakWarmUp      = 5 * time.Second
	goodKey         = "good-4f1d2c7b9a"
	victimKey       = "victim"
	soakWorkers     = 2
)

func (*soakScenario) name() string { return "soak" }
func (*soakScenario) about() string {
	return "bad input at every port while good peers are served; a test, not a measurement"
}
func (*soakScenario) modest() {}
func (s *soakScenario) register(flags *flag.FlagSet) {
	flags.DurationVar(&s.duration, "duration", 20*time.Second, "how long")
	flags.Uint64Var(&s.seed, "seed", uint64(time.Now().UnixNano()), "`SEED` of the bad input")
	flags.IntVar(&s.rate, "rate", 100, "bad connections a second, for each port")
	s.out = os.Stdout
}

func (s *soakScenario) run(ctx context.Context, l *lab) error {
	if s.duration <= 0 || s.rate <= 0 {
		return usageError{errors.New("-duration and -rate must be positive")}
	}
	l.say("seed %d", s.seed)
	checks, err := s.soak(ctx, l)
	if err != nil {
		checks = append(checks, check{"the soak took place", false, err.Error()})
	}
	ended := check{"programs end in order and leave nothing behind", true, "by SIGTERM"}
	if err := l.close(); err != nil {
		ended.ok, ended.detail = false, err.Error()
	}
	return s.judge(append(checks, ended))
}

// soak attacks, in two phases: the programs are looked at after the first and
// after the second, so that what only grows once does not count.
func (s *soakScenario) soak(ctx context.Context, l *lab) ([]check, error) {
	b, err := newSoakBench(ctx, l)
	if err != nil {
		return nil, err
	}
	attacks := b.attacks(s.rate)
	if err := b.phase(ctx, s.seed, attacks, min(s.duration/soakWarmUpShare, soakWarmUp)); err != nil {
		return b.alive(), err
	}
	before, err := settled(ctx, settleLimit, nil, b.services(), b.servers())
	if err != nil {
		return b.alive(), err
	}
	b.good.reset()
	if err := b.phase(ctx, s.seed+1, attacks, s.duration); err != nil {
		return append(b.alive(), b.good.checks()...), err
	}
	after, err := settled(ctx, settleLimit, &before, b.services(), b.servers())
	if err != nil {
		return append(b.alive(), b.good.checks()...), err
	}
	return append(b.checks(attacks, before, after), b.good.checks()...), nil
}

// judge prints the checks and the closing line.
func (s *soakScenario) judge(checks []check) error {
	failed := 0
	for _, c := range checks {
		word := "ok  "
		if !c.ok {
			word = "FAIL"
			failed++
		}
		fmt.Fprintf(s.out, "%s %s: %s\n", word, c.what, c.detail)
	}
	fmt.Fprintf(s.out, "soak: seed %d, %s\n%d passed, %d failed\n", s.seed, s.duration, len(checks)-failed, failed)
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(checks))
	}
	return nil
}

// check is one thing that a soak must show.
type check struct {
	what   string
	ok     bool
	detail string
}

// soakBench is what is attacked: a tracker, a server whose sessions are good and
// whose door is attacked, a server whose sessions are bad too, and a server of calls.
type soakBench struct {
	tracker *service
	served  *server // good clients' sessions
	victim  *server // bad clients' sessions
	calls   *service
	good    *goodPeers
	agents  []int       // process ids, before
	workers []int       // of calls, likewise
	session *pb.Session // of a bad client of gRPC
}

func newSoakBench(ctx context.Context, l *lab) (b *soakBench, err error) {
	b = &soakBench{}
	if b.tracker, err = l.tracker(ctx); err != nil {
		return nil, err
	}
	if b.served, err = l.serve(ctx, goodKey, b.tracker.addr); err != nil {
		return nil, err
	}
	if b.victim, err = l.serve(ctx, victimKey, b.tracker.addr, "--kill-grace", "200ms"); err != nil {
		return nil, err
	}
	for _, s := range b.servers() {
		pid := 0
		// A server listens before its agent runs.
		if !waitUntil(ctx, startTime, func() bool { pid, err = s.agentPid(); return err == nil }) {
			return nil, err
		}
		b.agents = append(b.agents, pid)
	}
	if b.calls, err = l.serveCalls(ctx, "--workers", strconv.Itoa(soakWorkers), "--max-timeout", "1s"); err != nil {
		return nil, err
	}
	if !waitUntil(ctx, startTime, func() bool {
		b.workers, err = b.callWorkers()
		return err == nil && len(b.workers) == soakWorkers+1 // and a spare
	}) {
		return nil, fmt.Errorf("workers of calls: %d run, error %v", len(b.workers), err) //nolint:errorlint // mostly none
	}
	if b.session, err = openGRPC(ctx, b.calls.addr); err != nil {
		return nil, err
	}
	b.good = &goodPeers{tracker: b.tracker, server: b.served, calls: b.calls}
	return b, nil
}

// callWorkers are the processes that run calls.
func (b *soakBench) callWorkers() (pids []int, err error) {
	below, err := proc.Descendants(b.calls.pid())
	for _, d := range below {
		pids = append(pids, d.PID)
	}
	slices.Sort(pids)
	return pids, err
}

func (b *soakBench) services() []*service { return []*service{b.tracker, b.calls} }
func (b *soakBench) servers() []*server   { return []*server{b.served, b.victim} }

// attacks lists what is sent where.
func (b *soakBench) attacks(rate int) []*attack {
	return []*attack{
		{name: "tracker", addr: b.tracker.addr, rate: rate, make: badFrames("soak")},
		{name: "door in use", addr: b.served.addr, rate: rate, make: badInput(doorSeeds("soak"))},
		{name: "door", addr: b.victim.addr, rate: rate, make: badInput(doorSeeds(victimKey))},
		{name: "session", rate: max(1, rate/5), make: badSession, begin: withTicket(b.tracker.addr, victimKey)},
		{name: "port of calls", addr: b.calls.addr, rate: rate, make: badNative},
		{name: "gRPC's port", addr: b.calls.addr, rate: rate, make: badGRPC(b.session)},
		{name: "port of calls slowly", addr: b.calls.addr, rate: max(1, rate/5), make: slowInput, pause: slowPause},
		{name: "tracker's metrics", addr: b.tracker.metrics, rate: max(1, rate/5), make: badInput(metricsSeeds())},
		{name: "server's metrics", addr: b.served.metrics, rate: max(1, rate/5), make: badInput(metricsSeeds())},
		{name: "metrics of calls", addr: b.calls.metrics, rate: max(1, rate/5), make: badInput(metricsSeeds())},
	}
}

// phase attacks for a while, with good peers at work.
func (b *soakBench) phase(ctx context.Context, seed uint64, attacks []*attack, length time.Duration) error {
	// No deadline: what it cuts off would look like a port that times out.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer time.AfterFunc(length, cancel).Stop()
	var group errgroup.Group
	for i, a := range attacks {
		group.Go(func() error { return a.run(ctx, seed, uint64(i)) })
	}
	for _, work := range b.good.works() {
		group.Go(func() error { work(ctx); return nil })
	}
	return group.Wait()
}

// checks judges the programs after the attack.
func (b *soakBench) checks(attacks []*attack, before, after vitals) []check {
	list := b.alive()
	for _, a := range attacks {
		n := a.made.Load()
		list = append(list, check{"attacked " + a.name, n > 0, fmt.Sprintf("%d bad connections", n)})
	}
	for _, r := range leakRows(before, after, "the attack") {
		r.judge()
		list = append(list, check{"no " + r.Figure, !r.missed(), r.Note})
	}
	limit := before.resident*residentFactor + residentSlack
	return append(list, check{
		"memory did not grow", after.resident <= limit,
		fmt.Sprintf("%.1f MiB before, %.1f after, at most %.1f", before.resident/(1<<20), after.resident/(1<<20), limit/(1<<20)),
	})
}

// alive checks that no program died, agents included.
func (b *soakBench) alive() []check {
	list := []check{{"tracker lives", b.tracker.alive(), b.tracker.state()}}
	for i, s := range b.servers() {
		list = append(list, check{"server of " + s.key + " lives", s.alive(), s.state()})
		pid, err := s.agentPid()
		list = append(list, check{
			"its agent lives", err == nil && pid == b.agents[i], fmt.Sprintf("process %d, was %d", pid, b.agents[i]),
		})
	}
	workers, err := b.callWorkers()
	return append(list, check{"server of calls lives", b.calls.alive(), b.calls.state()}, check{
		"its workers live", err == nil && slices.Equal(workers, b.workers), fmt.Sprintf("processes %v, were %v", workers, b.workers),
	})
}
