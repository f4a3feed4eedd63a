//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"rpcpool.dev/tvm"
)

// silentScenario measures whether connections that say nothing, or stop in the
// middle of a word, delay those that speak, at the tracker and at a server's
// door.
type silentScenario struct {
	silent int
	calls  int
	every  time.Duration
}

// doorP99Target is how long a good client may wait at a door, whoever else
// stands there.
const doorP99Target = 100 * time.Millisecond

func (*silentScenario) name() string  { return "silent" }
func (*silentScenario) about() string { return "grants and handshakes beside silent connections" }
func (s *silentScenario) modest()     { s.calls = 3000 }
func (s *silentScenario) register(flags *flag.FlagSet) {
	flags.IntVar(&s.silent, "connections", 1000, "silent connections")
	flags.IntVar(&s.calls, "n", 5000, "calls measured, before and after")
	flags.DurationVar(&s.every, "every", time.Millisecond, "time between two calls; all of them must fit into a handshake's time")
}

func (s *silentScenario) run(ctx context.Context, l *lab) error {
	floor, err := l.floor(ctx)
	if err != nil {
		return err
	}
	var trackers [2]*service // without and with silent connections
	for i := range trackers {
		if trackers[i], err = l.tracker(ctx); err != nil {
			return err
		}
	}
	if err := s.atTracker(ctx, l, trackers, floor); err != nil {
		return fmt.Errorf("tracker: %w", err)
	}
	if err := s.atDoor(ctx, l, trackers[0], floor); err != nil {
		return fmt.Errorf("door: %w", err)
	}
	return nil
}

func (s *silentScenario) atTracker(ctx context.Context, l *lab, trackers [2]*service, floor *service) error {
	paced, err := newPacedGrants(ctx, trackers[0], trackers[1], floor, s.every, s.calls)
	if err != nil {
		return err
	}
	defer paced.close()
	magic := tvm.AppendTrackerMagic(nil)
	silent, err := dialSilent(ctx, trackers[1].addr, s.silent, [][]byte{
		nil, magic[:2], magic, append(magic[:4:4], 9, 0), append(magic[:4:4], 9, 0, 0, 0, '['),
	})
	if err != nil {
		return err
	}
	defer closeAll(silent)
	pace, err := paced.measure(ctx, s.calls)
	if err != nil {
		return err
	}
	rows := pace.rows(thousands(float64(s.silent)) + " silent connections")
	rows[0].noted("%d of them were still connected at the end", stillOpen(silent))
	for _, r := range rows {
		l.add(r)
	}
	return nil
}

func (s *silentScenario) atDoor(ctx context.Context, l *lab, tracker, floor *service) error {
	var doors [2]*server // without and with silent connections
	for i := range doors {
		var err error
		if doors[i], err = l.serve(ctx, benchKey, tracker.addr); err != nil {
			return err
		}
	}
	hello := tvm.AppendClientHello(nil, ticket(benchKey, 0), 0)
	silent, err := dialSilent(ctx, doors[1].addr, s.silent, [][]byte{nil, hello[:3], hello[:8], hello[:12]})
	if err != nil {
		return err
	}
	defer closeAll(silent)
	k := &knocks{doors: []string{doors[0].addr, doors[1].addr}, floor: floor.addr}
	if err := k.run(ctx, s.calls/5); err != nil {
		return err
	}
	without, with := &k.took[0], &k.took[1]
	load := thousands(float64(s.silent)) + " silent connections"
	l.add(latencies("door, connect and refused ticket, with "+load, with).above(&k.raw, knockFloorIs).
		atMost(ofP99, doorP99Target.Seconds()).noted("%d of them were still connected at the end", stillOpen(silent)))
	l.add(latencies("door in turns with it, without "+load, without).above(&k.raw, knockFloorIs))
	l.add(number("door p99 with/without "+load, times, with.quantile(0.99)/without.quantile(0.99)).atMost(ofValue, p99Target))
	return nil
}

// dialSilent connects n times and says the beginnings in turns, and no more.
func dialSilent(ctx context.Context, addr string, n int, beginnings [][]byte) ([]net.Conn, error) {
	var all []net.Conn
	for i := range n {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			closeAll(all)
			return nil, fmt.Errorf("silent connection: %w", err)
		}
		all = append(all, c)
		if b := beginnings[i%len(beginnings)]; len(b) > 0 {
			if _, err := c.Write(b); err != nil {
				closeAll(all)
				return nil, fmt.Errorf("silent connection: %w", err)
			}
		}
	}
	return all, nil
}

// stillOpen counts the connections that the peer has not closed.
func stillOpen(conns []net.Conn) (n int) {
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			n++
		}
	}
	return n
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}
