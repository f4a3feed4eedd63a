//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"time"
)

// poolScenario is a team's afternoon in small: many tuning clients that share a
// few devices, whose trials sometimes crash. No session may be lost, and no
// device may stand idle while somebody waits for it.
type poolScenario struct {
	n       int
	clients int
	devices int
	crashes float64
	hold    time.Duration
}

const idleShareTarget = 0.05

func (*poolScenario) name() string { return "pool" }
func (*poolScenario) about() string {
	return "many clients share a few devices: sessions lost, share of time that devices stand idle"
}
func (s *poolScenario) modest() { s.n = 1500 }
func (s *poolScenario) register(flags *flag.FlagSet) {
	flags.IntVar(&s.n, "n", 10000, "sessions")
	flags.IntVar(&s.clients, "clients", 64, "clients")
	flags.IntVar(&s.devices, "devices", 16, "devices")
	flags.Float64Var(&s.crashes, "crashes", 0.05, "share of the sessions whose worker crashes")
	flags.DurationVar(&s.hold, "hold", 250*time.Millisecond, "how long a session works, without using this machine's cores")
}

func (s *poolScenario) run(ctx context.Context, l *lab) error {
	tracker, err := l.tracker(ctx)
	if err != nil {
		return err
	}
	floor, err := l.floor(ctx)
	if err != nil {
		return err
	}
	for range s.devices {
		if _, err := l.serve(ctx, benchKey, tracker.addr); err != nil {
			return err
		}
	}
	runs := &manySessions{tracker: tracker.addr, clients: s.clients, crashes: s.crashes, hold: s.hold}
	if err := runs.run(ctx, 2*s.devices); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	runs = &manySessions{
		tracker: tracker.addr, clients: s.clients, crashes: s.crashes, hold: s.hold, visits: newDeviceLog(),
	}
	stopAmbient, ambient := ambientFloor(ctx, floor.addr)
	began := time.Now()
	if err := runs.run(ctx, s.n); err != nil {
		return err
	}
	took := time.Since(began)
	stopAmbient()
	idle, devices := runs.visits.idleShare()
	what := fmt.Sprintf("%d clients, %d devices, %s sessions of %s", s.clients, s.devices, thousands(float64(s.n)), s.hold)
	l.add(number("sessions lost, "+what, count, float64(runs.lost.Load())).atMost(ofValue, 0).noted("%s", runs.firstLoss()))
	l.add(number("time that devices stood idle while clients waited", share, idle).atMost(ofValue, idleShareTarget).
		noted("from the end of a session, as its client saw it, to the next client's grant; %d devices were used, %d crashes",
			devices, runs.crashed.Load()))
	useful := float64(s.n) * s.hold.Seconds() / (took.Seconds() * float64(s.devices))
	l.add(number("time that devices were not working, all causes", share, 1-useful).
		noted("also counts handshakes, first calls, crashes, and the start and the end of the run"))
	l.add(latencies("device idle between two sessions", runs.visits.gaps()))
	l.add(number("sessions", perSecond, float64(s.n)/took.Seconds()).
		aboveNumber(float64(s.devices)/s.hold.Seconds(), "devices divided by the time that a session works: what no pool can exceed"))
	l.add(latencies("raw TCP ping-pong meanwhile", ambient()))
	return nil
}

// deviceLog notes who was served where, from when to when.
type deviceLog struct {
	mu      sync.Mutex
	devices map[string]*deviceTime
	between sample
}

type deviceTime struct {
	first, last time.Time // first grant, end of the last session
	idle        time.Duration
}

func newDeviceLog() *deviceLog { return &deviceLog{devices: map[string]*deviceTime{}} }

// add notes one session on a device. Sessions of a device do not overlap, but
// they may be noted out of order by a moment: the next client can have its grant
// before the last one has noted its end, and then the device was not idle.
func (d *deviceLog) add(device string, granted, closed time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.devices[device]
	if t == nil {
		d.devices[device] = &deviceTime{first: granted, last: closed}
		return
	}
	gap := max(0, granted.Sub(t.last))
	t.idle += gap
	d.between.add(gap)
	if closed.After(t.last) {
		t.last = closed
	}
}

// idleShare is the share of the time that devices were idle between their first
// session and their last.
func (d *deviceLog) idleShare() (idle float64, devices int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var waste, total time.Duration
	for _, t := range d.devices {
		waste += t.idle
		total += t.last.Sub(t.first)
	}
	if total == 0 {
		return 1, len(d.devices)
	}
	return waste.Seconds() / total.Seconds(), len(d.devices)
}

func (d *deviceLog) gaps() *sample {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &sample{values: d.between.values}
}
