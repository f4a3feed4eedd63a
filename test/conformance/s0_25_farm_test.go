//go:build linux

package conformance

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

// farm is many servers under one tracker, and what their clients count.
type farm struct {
	*trackerProc
	servers []*server
	busy    map[string]*atomic.Int32 // sessions at a server, by its address
	crashed atomic.Int32
	double  atomic.Int32
	lost    atomic.Int32
}

// tune runs one session as a tuner's trial does: compile for a moment, measure,
// and sometimes crash.
func (f *farm) tune(i int, crashes bool, length time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()
	s, err := client.Request(ctx, f.addr, key, client.Options{})
	if err != nil {
		slog.Error("session lost", "trial", i, "error", err)
		f.lost.Add(1)
		return
	}
	if f.busy[s.Server()].Add(1) > 1 {
		f.double.Add(1)
	}
	defer func() { _ = s.Close() }()
	if crashes {
		f.busy[s.Server()].Add(-1) // the device may be another's before we know of the crash
		_, err = s.Call(ctx, "test.segfault")
		f.crashed.Add(1)
	} else if _, err = s.Call(ctx, "test.sleep", length.Seconds()); err == nil {
		var v any
		if v, err = s.Call(ctx, "test.addone", i); err == nil && v != int64(i+1) {
			err = fmt.Errorf("test.addone(%d) = %v", i, v)
		}
	}
	if (err != nil) != crashes {
		slog.Error("trial failed", "trial", i, "error", err)
		f.lost.Add(1)
	}
	if !crashes {
		f.busy[s.Server()].Add(-1)
	}
}

// idle samples, until stop, the share of device-time that is idle while
// somebody waits: free, or starting a worker.
func (f *farm) idle(stop <-chan struct{}) (share float64) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	idle, all := 0, 0
	for {
		select {
		case <-stop:
			return float64(idle) / float64(max(all, 1))
		case <-tick.C:
		}
		sum := f.Summary()
		if sum.Queue[key].Pending == 0 {
			continue
		}
		for _, s := range sum.Servers {
			all++
			if s.State() != string(tvm.StateBusy) {
				idle++
			}
		}
	}
}

func TestS0_25_PoolUnderTuning(t *testing.T) {
	if !stress() { // at full length it is about idle time, and wants the machine for itself
		t.Parallel()
	}
	devices, clients, trials := scaled(4, 16), scaled(16, 64), scaled(120, 10000)
	length := time.Duration(scaled(100, 500)) * time.Millisecond
	if stress() && raceDetector { // processes take three times as long to start
		length *= 3
	}
	f := &farm{trackerProc: startTracker(t), busy: map[string]*atomic.Int32{}}
	for range devices {
		s := startServer(t, f.trackerProc)
		f.servers, f.busy[s.addr] = append(f.servers, s), new(atomic.Int32)
	}
	for _, s := range f.servers {
		s.ready()
	}
	var next atomic.Int32
	var group sync.WaitGroup
	stop, share := make(chan struct{}), make(chan float64, 1)
	go func() { share <- f.idle(stop) }()
	began := time.Now()
	for range clients {
		group.Go(func() {
			for i := int(next.Add(1)); i <= trials; i = int(next.Add(1)) {
				f.tune(i, i%20 == 0, length)
			}
		})
	}
	group.Wait()
	close(stop)
	idle, took := <-share, time.Since(began)
	t.Logf("%d trials on %d devices by %d clients in %v, %d crashed; devices idle %.1f %% of the time that clients waited",
		trials, devices, clients, took.Round(time.Millisecond), f.crashed.Load(), 100*idle)
	if f.lost.Load() > 0 || f.double.Load() > 0 || int(f.crashed.Load()) != trials/20 {
		t.Errorf("%d sessions lost, %d devices assigned twice, %d of %d crashes", f.lost.Load(), f.double.Load(), f.crashed.Load(), trials/20)
	}
	if stress() && idle > 0.05 {
		t.Errorf("devices were idle %.1f %% of the time, want under 5 %%", 100*idle)
	}
	ends := 0.0
	for _, s := range f.servers {
		s.waitState("free")
		ends += s.metric("rpcpool_session_ends_total", "completed") + s.metric("rpcpool_session_ends_total", "crash-signal")
	}
	if ends != float64(trials) {
		t.Errorf("servers counted %v sessions, there were %d", ends, trials)
	}
}
