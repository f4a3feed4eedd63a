package tracker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func startMetrics(t *testing.T) (*harness, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	return startFake(t, Options{Metrics: m}), reg
}

func wantMetrics(t *testing.T, reg *prometheus.Registry, want string, names ...string) {
	t.Helper()
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

func TestMetricsAreWellNamed(t *testing.T) {
	h, reg := startMetrics(t)
	h.register("k", "k:1")
	h.take("k:1")
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestMetricsOfServers(t *testing.T) {
	h, reg := startMetrics(t)
	h.register("a", "a:1")
	hung := newStockServer(h)
	hung.poll()
	hung.poll()
	nativeBusy := h.join()
	nativeBusy.ask(`[5, {"key": "server:k", "state": "busy"}]`, "0")
	h.clock.advance(DefaultHungAfter + time.Second)
	nativeBusy.ask(`[7]`, `[]`)
	client := h.join()
	client.send(`[4, "a", "", 1]`)
	client.wantGrant("a:1")
	client.send(`[4, "a", "", 1]`)
	h.wantQueue("a", 0, 1)
	wantMetrics(t, reg, `
# HELP rpcpool_servers Registered servers, by device key and state: free, busy, draining, quarantined, starting or lost (registered and silent).
# TYPE rpcpool_servers gauge
rpcpool_servers{key="a",state="busy"} 1
rpcpool_servers{key="a",state="draining"} 0
rpcpool_servers{key="a",state="free"} 0
rpcpool_servers{key="a",state="lost"} 0
rpcpool_servers{key="a",state="quarantined"} 0
rpcpool_servers{key="a",state="starting"} 0
rpcpool_servers{key="k",state="busy"} 1
rpcpool_servers{key="k",state="draining"} 0
rpcpool_servers{key="k",state="free"} 0
rpcpool_servers{key="k",state="lost"} 1
rpcpool_servers{key="k",state="quarantined"} 0
rpcpool_servers{key="k",state="starting"} 0
# HELP rpcpool_queue_length Requests that wait, by device key.
# TYPE rpcpool_queue_length gauge
rpcpool_queue_length{key="a"} 1
rpcpool_queue_length{key="k"} 0
# HELP rpcpool_tracker_connections Open connections to the tracker.
# TYPE rpcpool_tracker_connections gauge
rpcpool_tracker_connections 4
`, "rpcpool_servers", "rpcpool_queue_length", "rpcpool_tracker_connections")
	hung.close()
	nativeBusy.close()
	h.wantConns(2)
	h.clock.advance(lingerFor)
	if n, err := testutil.GatherAndCount(reg, "rpcpool_servers", "rpcpool_queue_length"); err != nil || n != len(metricStates)+1 {
		t.Errorf("%d series (%v), want those of one key", n, err)
	}
}

func TestMetricsOfRequests(t *testing.T) {
	h, reg := startMetrics(t)
	server := h.register("k", "k:1")
	client := h.take("k:1")
	client.send(`[4, "k", "", 1]`)
	h.wantQueue("k", 0, 1)
	h.clock.advance(3 * time.Second)
	putOne(server, "k", "k:2")
	client.wantGrant("k:2")
	client.send(`[4, "k", "", 1]`)
	h.wantQueue("k", 0, 1)
	client.close()
	bad := h.join()
	bad.send(`[99]`)
	bad.wantClosed()
	h.wantConns(1)
	wantMetrics(t, reg, `
# HELP rpcpool_requests_total Requests that ended: granted, abandoned by their client while they waited, or refused.
# TYPE rpcpool_requests_total counter
rpcpool_requests_total{outcome="abandoned"} 1
rpcpool_requests_total{outcome="granted"} 2
rpcpool_requests_total{outcome="refused"} 0
# HELP rpcpool_handoffs_total What became of grants: used, expired (the client never came), returned (the client was gone before it got the grant) or unknown (the server went away, or does not tell).
# TYPE rpcpool_handoffs_total counter
rpcpool_handoffs_total{result="expired"} 0
rpcpool_handoffs_total{result="returned"} 0
rpcpool_handoffs_total{result="unknown"} 0
rpcpool_handoffs_total{result="used"} 1
# HELP rpcpool_tracker_frames_total Frames from peers, by message.
# TYPE rpcpool_tracker_frames_total counter
rpcpool_tracker_frames_total{code="get_pending_matchkeys"} 0
rpcpool_tracker_frames_total{code="ping"} 0
rpcpool_tracker_frames_total{code="put"} 2
rpcpool_tracker_frames_total{code="request"} 3
rpcpool_tracker_frames_total{code="stop"} 0
rpcpool_tracker_frames_total{code="summary"} 0
rpcpool_tracker_frames_total{code="update_info"} 1
`, "rpcpool_requests_total", "rpcpool_handoffs_total", "rpcpool_tracker_frames_total")
	if got := h.rejectedFor(rejectUnknownCode); got != 1 {
		t.Errorf("%d rejections", got)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "rpcpool_request_wait_seconds" {
			if w := f.GetMetric()[0].GetHistogram(); w.GetSampleCount() != 2 || w.GetSampleSum() != 3 {
				t.Errorf("%d waits of %v s together, want 2 of 3 s", w.GetSampleCount(), w.GetSampleSum())
			}
		}
	}
}

func TestMetricsOfManyKeysShareSeries(t *testing.T) {
	h, reg := startMetrics(t)
	client := h.join()
	const more = 7
	for i := range maxKeyLabels - 1 + more {
		client.send(fmt.Sprintf(`[4, "junk-%03d", "", 1]`, i))
	}
	h.register("zebra", "zebra:1") // has a server, so it has a series before all junk
	client.wantOpen()
	if n, err := testutil.GatherAndCount(reg, "rpcpool_queue_length"); err != nil || n != maxKeyLabels+1 {
		t.Errorf("%d series (%v), want %d", n, err, maxKeyLabels+1)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "rpcpool_queue_length" {
			for _, m := range f.GetMetric() {
				found[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	if _, ok := found["zebra"]; !ok || found[otherKeys] != more {
		t.Errorf("zebra %v, other %v; want it there, and %d", ok, found[otherKeys], more)
	}
}

func TestMetricsOfOddKeys(t *testing.T) {
	h, reg := startMetrics(t)
	client := h.join()
	keys := []string{`\u0000`, `\ufffd`, ``, `a\nb`, `\"`}
	for _, key := range keys {
		client.send(`[4, "` + key + `", "", 1]`)
	}
	client.wantOpen()
	if n, err := testutil.GatherAndCount(reg, "rpcpool_queue_length"); err != nil || n != len(keys) {
		t.Errorf("%d series (%v), want %d", n, err, len(keys))
	}
}

func TestMetricsBelongToOneRegistry(t *testing.T) {
	reg := prometheus.NewRegistry()
	if _, err := NewMetrics(reg); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(reg, "rpcpool_servers"); err != nil || n != 0 {
		t.Errorf("%d series without a server, %v", n, err)
	}
	if _, err := NewMetrics(reg); err == nil {
		t.Error("registered twice")
	}
}

// Several trackers in one process share a registry by labels of their own, and
// one that ends leaves no series behind.
func TestMetricsOfSeveralTrackersInOneProcess(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	trackers := map[string]*Metrics{}
	for _, namespace := range []string{"a", "b"} {
		m, err := NewMetrics(prometheus.WrapRegistererWith(prometheus.Labels{"namespace": namespace, "tracker": "t"}, reg))
		if err != nil {
			t.Fatal(err)
		}
		trackers[namespace] = m
		h := startFake(t, Options{Metrics: m})
		h.register("k", "k:1")
		h.take("k:1")
	}
	series := func() (of map[string]int) {
		of = map[string]int{}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetName() == "namespace" {
						of[l.GetValue()]++
					}
				}
			}
		}
		return of
	}
	both := series()
	if both["a"] == 0 || both["a"] != both["b"] {
		t.Fatalf("series %v, want as many of each", both)
	}
	trackers["a"].Unregister()
	if left := series(); left["a"] != 0 || left["b"] != both["b"] {
		t.Errorf("series %v after a has ended, want %d of b", left, both["b"])
	}
	again, err := NewMetrics(prometheus.WrapRegistererWith(prometheus.Labels{"namespace": "a", "tracker": "t"}, reg))
	if err != nil {
		t.Errorf("a comes back: %v", err)
	}
	again.Unregister()
	trackers["b"].Unregister()
	if left := series(); len(left) != 0 {
		t.Errorf("series %v after all have ended", left)
	}
	(*Metrics)(nil).Unregister()
}
