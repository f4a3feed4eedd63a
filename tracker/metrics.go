package tracker

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/tvm"
)

const (
	// maxKeyLabels is how many device keys get series of their own; the others,
	// the last in the alphabet, share one.
	maxKeyLabels = 100
	otherKeys    = "other"
)

// Metrics are a server's metrics: counters and gauges are read from the server
// at each scrape, all of the same moment, so that sums are right and series of
// keys that are gone are gone.
type Metrics struct {
	wait       prometheus.Histogram
	server     atomic.Pointer[Server]
	registered prometheus.Registerer

	servers     *prometheus.Desc
	queue       *prometheus.Desc
	requests    *prometheus.Desc
	handoffs    *prometheus.Desc
	connections *prometheus.Desc
	frames      *prometheus.Desc
	rejections  *prometheus.Desc
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics registers the metrics of one server with reg. It fails if reg has
// those of another one already: several servers in one process need labels that
// tell them apart ([prometheus.WrapRegistererWith]).
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	m := &Metrics{
		registered: reg,
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:                            "rpcpool_request_wait_seconds",
			Help:                            "Time from a client's REQUEST to its grant.",
			Buckets:                         []float64{.001, .005, .025, .1, .5, 1, 5, 10, 30, 60, 300, 1800},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}),
		servers:     desc("rpcpool_servers", "Registered servers, by device key and state: free, busy, draining, quarantined, starting or lost (registered and silent).", "key", "state"),
		queue:       desc("rpcpool_queue_length", "Requests that wait, by device key.", "key"),
		requests:    desc("rpcpool_requests_total", "Requests that ended: granted, abandoned by their client while they waited, or refused.", "outcome"),
		handoffs:    desc("rpcpool_handoffs_total", "What became of grants: used, expired (the client never came), returned (the client was gone before it got the grant) or unknown (the server went away, or does not tell).", "result"),
		connections: desc("rpcpool_tracker_connections", "Open connections to the tracker."),
		frames:      desc("rpcpool_tracker_frames_total", "Frames from peers, by message.", "code"),
		rejections:  desc("rpcpool_protocol_errors_total", "Connections that the tracker closed because of what the peer did: connection-limit, bad-magic, handshake-timeout, frame-length, frame-timeout, bad-message, unknown-code, memory-limit or slow-reader.", "reason"),
	}
	if err := reg.Register(m); err != nil {
		return nil, err
	}
	return m, nil
}

// Unregister takes the metrics out of where [NewMetrics] put them: no series is
// left. It may be called on nil.
func (m *Metrics) Unregister() {
	if m != nil {
		m.registered.Unregister(m)
	}
}

func (m *Metrics) attach(s *Server) {
	if m != nil {
		m.server.Store(s)
	}
}

func (m *Metrics) granted(waited time.Duration) {
	if m != nil {
		m.wait.Observe(waited.Seconds())
	}
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	m.wait.Describe(ch)
	for _, d := range []*prometheus.Desc{m.servers, m.queue, m.requests, m.handoffs, m.connections, m.frames, m.rejections} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.wait.Collect(ch)
	s := m.server.Load()
	if s == nil {
		return
	}
	s.mu.Lock()
	c := s.registry.census(s.options.Clock.Now())
	s.mu.Unlock()
	s.connMu.Lock()
	open := len(s.conns)
	s.connMu.Unlock()

	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	c.gauges(m, gauge)
	gauge(m.connections, open)
	counter(m.requests, c.counts.granted, "granted")
	counter(m.requests, c.counts.abandoned, "abandoned")
	counter(m.requests, c.counts.refused, "refused")
	for result, n := range c.counts.handoffs {
		counter(m.handoffs, n, handoffResult(result).String())
	}
	for code := int(tvm.CodePing); code < messageCodes; code++ {
		counter(m.frames, s.frames[code].Load(), strings.ToLower(tvm.Code(code).String()))
	}
	for r := range rejectReasons {
		counter(m.rejections, s.rejects[r].Load(), r.String())
	}
}

// metricStates are the values of the label "state", always all of them, so that
// a dashboard never misses a series.
var metricStates = [...]string{"free", "busy", "draining", "quarantined", "starting", "lost"}

// metricState maps what people are shown to what is counted: a server that is
// granted is no longer free, one that hangs is lost.
func metricState(s State) string {
	switch s {
	case StateGranted:
		return string(StateBusy)
	case StateHung:
		return "lost"
	default:
		return string(s)
	}
}

// gauges gives the gauges by key. Keys beyond the first [maxKeyLabels] are
// summed up under one label.
func (c *census) gauges(m *Metrics, gauge func(*prometheus.Desc, int, ...string)) {
	label := keyLabels(c.servers, c.waiting)
	servers := map[string]map[string]int{}
	waiting := map[string]int{}
	for key, states := range c.servers {
		sum := servers[label(key)]
		if sum == nil {
			sum = map[string]int{}
			servers[label(key)] = sum
		}
		for state, n := range states {
			sum[metricState(state)] += n
		}
	}
	for key, n := range c.waiting {
		waiting[label(key)] += n
	}
	for key, states := range servers {
		for _, state := range metricStates {
			gauge(m.servers, states[state], key, state)
		}
	}
	for key, n := range waiting {
		gauge(m.queue, n, key)
	}
}

// keyLabels returns the function from a device key to its label. Labels must be
// UTF-8; keys are, because their frames are.
func keyLabels(servers map[string]map[State]int, waiting map[string]int) func(string) string {
	keys := make([]string, 0, len(servers)+len(waiting))
	for key := range servers {
		keys = append(keys, key)
	}
	for key := range waiting {
		if servers[key] == nil {
			keys = append(keys, key)
		}
	}
	if len(keys) <= maxKeyLabels {
		return func(key string) string { return key }
	}
	slices.SortFunc(keys, func(a, b string) int {
		if a, b := servers[a] != nil, servers[b] != nil; a != b { // those with servers first
			return cmp.Compare(btoi(b), btoi(a))
		}
		return strings.Compare(a, b)
	})
	own := make(map[string]bool, maxKeyLabels)
	for _, key := range keys[:maxKeyLabels] {
		own[key] = true
	}
	return func(key string) string {
		if own[key] {
			return key
		}
		return otherKeys
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
