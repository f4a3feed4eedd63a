package sidecar

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/sidecar/supervise"
)

// handshakeResult is how a handshake ended. The set is closed.
type handshakeResult string

const (
	handshakeAccepted handshakeResult = "accepted"
	handshakeMismatch handshakeResult = "mismatch"
	handshakeBadMagic handshakeResult = "bad-magic"
	handshakeBadKey   handshakeResult = "bad-key"
	handshakeTimeout  handshakeResult = "timeout"
	handshakeClosed   handshakeResult = "closed"
)

// offerResult is what became of an offer. The set is closed.
type offerResult string

const (
	offerPut       offerResult = "put"
	offerUsed      offerResult = "used"
	offerExpired   offerResult = "expired"
	offerWithdrawn offerResult = "withdrawn"
)

// Directions of a session's bytes.
const (
	received = "received"
	sent     = "sent"
)

// Metrics counts what servers of one process do. Several servers may share it:
// the only label that tells them apart is the device key, so the number of
// series does not grow with servers, clients or sessions.
type Metrics struct {
	state        *prometheus.GaugeVec
	sessions     *prometheus.HistogramVec
	ends         *prometheus.CounterVec
	bytes        *prometheus.CounterVec
	clamped      *prometheus.CounterVec
	handshakes   *prometheus.CounterVec
	offers       *prometheus.CounterVec
	restarts     *prometheus.CounterVec
	limits       *prometheus.CounterVec
	ready        *prometheus.HistogramVec
	agentRestart *prometheus.CounterVec
	rdma         *prometheus.GaugeVec
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rpcpool_sidecar_devices",
			Help: "Devices served by this process, by state (starting, free, busy, draining, quarantined).",
		}, []string{"key", "state"}),
		sessions: prometheus.NewHistogramVec(histogram("rpcpool_session_duration_seconds",
			"Length of sessions, from admission until the worker's whole process tree is gone.",
			prometheus.ExponentialBuckets(0.005, 2, 18)), []string{"key", "end_reason"}),
		ends:       counter("rpcpool_session_ends_total", "Sessions ended, by cause.", "key", "reason"),
		bytes:      counter("rpcpool_session_bytes_total", "Payload bytes of ended sessions, received from and sent to clients, as TCP counts them.", "key", "direction"),
		clamped:    counter("rpcpool_session_timeouts_clamped_total", "Sessions that got less time than their client asked for.", "key"),
		handshakes: counter("rpcpool_handshakes_total", "Handshakes at the door: accepted, mismatch, bad-magic, bad-key, timeout or closed.", "key", "result"),
		offers:     counter("rpcpool_offers_total", "Offers of the device to the tracker: put; then used, expired (granted, and nobody came) or withdrawn.", "key", "result"),
		restarts:   counter("rpcpool_worker_restarts_total", "Workers that ended, and were replaced, by cause.", "key", "reason"),
		limits:     counter("rpcpool_worker_limits_total", "Workers that ran into a bound, by bound (start, session, heartbeat, upload, load, run: time; memory, work-dir: size).", "key", "limit"),
		ready: prometheus.NewHistogramVec(histogram("rpcpool_worker_ready_seconds",
			"Time from the start of a warm worker until it is ready.",
			prometheus.ExponentialBuckets(0.001, 2, 16)), []string{"key"}),
		agentRestart: counter("rpcpool_agent_connections_total", "Connections made to the agent; each after the first is a restart of it.", "key"),
		rdma: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rpcpool_rdma_servers",
			Help: "Servers that were promised RDMA devices, by what is true of these: DevicesReady, or the reason why they cannot be used.",
		}, []string{"key", "reason"}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.state, m.sessions, m.ends, m.bytes, m.clamped, m.handshakes, m.offers, m.restarts, m.limits, m.ready, m.agentRestart, m.rdma} {
		errs = append(errs, r.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}

// meter is the view of one server on the metrics; it works on nil ones.
type meter struct {
	*Metrics
	key string
}

// begin makes the counters that rates are taken of, at 0: the first event is an
// increase only to whoever has seen the counter before it.
func (m meter) begin() {
	if m.Metrics == nil {
		return
	}
	for _, cause := range supervise.Causes() {
		m.ends.WithLabelValues(m.key, string(cause))
		m.restarts.WithLabelValues(m.key, string(cause))
	}
	m.bytes.WithLabelValues(m.key, received)
	m.bytes.WithLabelValues(m.key, sent)
	m.clamped.WithLabelValues(m.key)
}

func (m meter) handshake(r handshakeResult) {
	if m.Metrics != nil {
		m.handshakes.WithLabelValues(m.key, string(r)).Inc()
	}
}

func (m meter) offer(r offerResult) {
	if m.Metrics != nil {
		m.offers.WithLabelValues(m.key, string(r)).Inc()
	}
}

// became moves the server from one state to another; empty is none.
func (m meter) became(from, to string) {
	if m.Metrics != nil {
		move(m.state, m.key, from, to)
	}
}

// rdmaBecame moves the server from one reason to another; empty is none.
func (m meter) rdmaBecame(from, to string) {
	if m.Metrics != nil {
		move(m.rdma, m.key, from, to)
	}
}

// move takes the server from one series of its key to another; empty is none.
func move(servers *prometheus.GaugeVec, key, from, to string) {
	if from == to {
		return
	}
	if from != "" {
		servers.WithLabelValues(key, from).Dec()
	}
	if to != "" {
		servers.WithLabelValues(key, to).Inc()
	}
}

func (m meter) session(e end, t traffic, clamped bool, length time.Duration) {
	if m.Metrics == nil {
		return
	}
	m.sessions.WithLabelValues(m.key, string(e.cause)).Observe(length.Seconds())
	m.bytes.WithLabelValues(m.key, received).Add(float64(t.received))
	m.bytes.WithLabelValues(m.key, sent).Add(float64(t.sent))
	if clamped {
		m.clamped.WithLabelValues(m.key).Inc()
	}
	// Last, so that who has seen the end counted finds the rest as well.
	m.ends.WithLabelValues(m.key, string(e.cause)).Inc()
}

func (m meter) workerEnded(r supervise.Report) {
	if m.Metrics != nil {
		m.restarts.WithLabelValues(m.key, string(r.Cause)).Inc()
		if r.Limit != "" {
			m.limits.WithLabelValues(m.key, string(r.Limit)).Inc()
		}
	}
}

func (m meter) workerReady(d time.Duration) {
	if m.Metrics != nil {
		m.ready.WithLabelValues(m.key).Observe(d.Seconds())
	}
}

func (m meter) agentConnected() {
	if m.Metrics != nil {
		m.agentRestart.WithLabelValues(m.key).Inc()
	}
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// histogram has classic buckets for every scraper and native ones for those
// that know them.
func histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}
}
