package tune

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/tracker"
	"rpcpool.dev/tvm"
)

// A whole job over a real tracker and real sessions; only the processes are
// missing, so nothing crashes.
func TestJobOverTheWire(t *testing.T) {
	addr := startTracker(t)
	first := startServer(t, addr, "cpu", realKernel)
	second := startServer(t, addr, "cpu", realKernel)
	startServer(t, addr, "other", realKernel)
	var records, progress syncBuffer
	job := Job{
		Pool:   Remote{Tracker: addr, Key: "cpu", Timeout: time.Minute, Size: 24},
		Trials: 30, ArraysEvery: 4, Seed: 5, Patience: time.Minute, Record: &records, Progress: &progress,
	}
	// Packed tiles of 24 always fit: nothing here can kill the test.
	result, err := job.Run(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	s := result.Summary
	if s.Outcomes[OutcomeOK] != 30 || s.Best == nil || s.Baseline == nil || s.Baseline.Trial != 0 {
		t.Errorf("summary %+v: want 30 valid trials and a baseline", s)
	}
	if s.Parallel < 1 || s.Parallel > 2 { // one, if the other was starting when it was asked
		t.Errorf("%d at a time on two servers", s.Parallel)
	}
	for _, v := range s.Servers {
		if v.Server != first && v.Server != second {
			t.Errorf("server %s has another key", v.Server)
		}
	}
	if n := strings.Count(records.String(), "\n"); n != 30 {
		t.Errorf("%d records, want 30", n)
	}
	if n := strings.Count(records.String(), `"verified":"arrays"`); n != 8 {
		t.Errorf("%d trials with arrays, want one in four of 30", n)
	}
	if !strings.Contains(progress.String(), `2 servers of key "cpu"`) || !strings.Contains(progress.String(), "30/30 trials") {
		t.Errorf("progress:\n%s", progress.String())
	}
	if p := result.Picture; len(p.Trials) != 30 || p.Wall <= 0 || p.Size != 24 || p.Key != "cpu" {
		t.Errorf("picture of %d trials, %s, %d, %s", len(p.Trials), p.Wall, p.Size, p.Key)
	}
}

func TestJobWithoutATracker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, err = Job{Pool: Remote{Tracker: addr, Key: "cpu", Size: 8}, Trials: 1, Progress: &syncBuffer{}}.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), addr) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, want one line that names %s", err, addr)
	}
}

func TestJobWithoutAServer(t *testing.T) {
	addr := startTracker(t)
	startServer(t, addr, "cpu2", realKernel) // of another key
	var progress syncBuffer
	_, err := Job{
		Pool: Remote{Tracker: addr, Key: "cpu", Size: 8}, Trials: 1,
		Patience: 10 * time.Millisecond, Progress: &progress,
	}.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), `no server of key "cpu"`) {
		t.Errorf("error %v, want one that names the key", err)
	}
	if n := strings.Count(progress.String(), "waiting up to 10ms"); n != 1 {
		t.Errorf("said %d times that it waits:\n%s", n, progress.String())
	}
}

func TestJobWaitsForTheFirstServer(t *testing.T) {
	addr := startTracker(t)
	started := make(chan struct{})
	var progress syncBuffer
	progress.onWrite = func(p []byte) {
		if bytes.Contains(p, []byte("waiting")) {
			close(started)
		}
	}
	done := make(chan error, 1)
	go func() {
		_, err := Job{
			Pool: Remote{Tracker: addr, Key: "cpu", Timeout: time.Minute, Size: 8}, Trials: 3,
			Patience: time.Minute, Progress: &progress,
		}.Run(t.Context())
		done <- err
	}()
	<-started
	startServer(t, addr, "cpu", realKernel)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestInterruptedJobHasAResult(t *testing.T) {
	addr := startTracker(t)
	startServer(t, addr, "cpu", realKernel)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	result, err := Job{
		Pool: Remote{Tracker: addr, Key: "cpu", Timeout: time.Minute, Size: 8}, Trials: 1_000_000, Patience: time.Minute,
		Record: writerFunc(func(p []byte) (int, error) {
			if n++; n == 5 {
				cancel()
			}
			return len(p), nil
		}),
		Progress: &syncBuffer{},
	}.Run(ctx)
	if err != nil || result.Summary.Trials < 5 || result.Summary.Trials > 6 || result.Summary.Best == nil {
		t.Errorf("%v, %+v: want 5 trials or 6, and no error", err, result.Summary)
	}
}

func TestMonitorGivesUpWithoutServers(t *testing.T) {
	m := NewMonitor(startTracker(t), "cpu", time.Millisecond)
	err := m.Run(t.Context(), 20*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), `no server of key "cpu" for 20ms`) {
		t.Errorf("error %v", err)
	}
}

func TestMonitorSurvivesATrackerRestart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	serve := func(l net.Listener) (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { _ = tracker.NewServer(tracker.Options{}).Serve(ctx, l) })
		return func() { cancel(); wg.Wait() }
	}
	m := NewMonitor(addr, "cpu", time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	stop := serve(l)
	go func() { done <- m.Run(ctx, time.Hour) }()
	await(t, "an answer", func() bool { return m.State().Known })
	stop()
	await(t, "silence", func() bool { return !m.State().Known })
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	stop = serve(l)
	await(t, "an answer of the new tracker", func() bool { return m.State().Known })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	stop()
}

// await polls until what happens, or fails the test after a long time.
func await(t *testing.T, what string, happens func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !happens() {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
		sleep.For(time.Millisecond, t.Context().Done())
	}
}

func TestPoolStateCountsServersOfTheKey(t *testing.T) {
	server := func(key, state string) tvm.ServerInfo {
		info := map[string]json.RawMessage{"key": json.RawMessage(`"server:` + key + `"`)}
		if state != "" {
			info["state"] = json.RawMessage(`"` + state + `"`)
		}
		return tvm.ServerInfo{Info: info}
	}
	for _, tc := range []struct {
		name    string
		free    int // as the queue counts
		servers []tvm.ServerInfo
		want    PoolState
	}{
		{"none", 0, nil, PoolState{Known: true}},
		{"each state",
			1, []tvm.ServerInfo{
				server("k", "free"), server("k", "granted"), server("k", "busy"), server("k", "starting"),
				server("k", "hung"), server("k", "draining"), server("k", "quarantined"), server("other", "free"), server("k2", "free"),
			},
			PoolState{Known: true, Free: 1, Busy: 2, Down: 4}},
		{"a stock tracker, which tells no states",
			2, []tvm.ServerInfo{server("k", ""), server("k", ""), server("k", "")},
			PoolState{Known: true, Free: 2, Busy: 1}},
		{"a stock tracker that counts a device behind a proxy as well",
			5, []tvm.ServerInfo{server("k", "")},
			PoolState{Known: true, Free: 1}},
	} {
		s := tvm.SummaryReply{Queue: map[string]tvm.QueueInfo{"k": {Free: tc.free}}, Servers: tc.servers}
		if got := poolState(s, "k"); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

// syncBuffer is a buffer for several writers.
type syncBuffer struct {
	onWrite func([]byte)
	mu      sync.Mutex
	b       bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	if b.onWrite != nil {
		b.onWrite(p)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
