package calls

import (
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/workers"
)

// Metrics show what a server does. But for the time to become ready they are read from
// the server when they are asked for. No label grows with clients, methods or calls.
type Metrics struct {
	server atomic.Pointer[Server] // nil: there is none yet
	ready  prometheus.Histogram

	calls                                                   *prometheus.Desc
	refusals, duplicates, expired, dropped, broken          *prometheus.Desc
	running, waiting, sessions, entries, bytes, connections *prometheus.Desc
	transports                                              *prometheus.Desc
	workers, starts, exits                                  *prometheus.Desc

	blobs blobMetrics
}

// NewMetrics makes the metrics of one server and registers them.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("rpcpool_rpc_"+name, help, labels, nil)
	}
	m := &Metrics{
		calls:       desc("calls_total", "Calls that workers have ended, and calls that were refused, by code and by whether they ran.", "code", "execution"),
		refusals:    desc("refusals_total", "Calls that were refused before they were given to a worker: the server is busy, or drains."),
		duplicates:  desc("duplicates_total", "Calls that had come before, and were not run again."),
		expired:     desc("sessions_expired_total", "Sessions of clients that were silent for longer than their lease."),
		dropped:     desc("replies_dropped_total", "Replies that were dropped to stay within the bounds of the table."),
		running:     desc("running", "Calls that run."),
		waiting:     desc("waiting", "Calls that wait for a worker."),
		sessions:    desc("sessions", "Sessions of clients in the table."),
		entries:     desc("entries", "Calls in the table."),
		bytes:       desc("reply_bytes", "Bytes of replies in the table."),
		broken:      desc("journal_broken", "1 if the journal cannot be written: calls that are not idempotent are refused."),
		connections: desc("connections", "Connections of clients, by protocol: native or grpc.", "protocol"),
		transports:  desc("transports", "Connections of clients that speak the native protocol, by what they have come by: unix, tcp or tls.", "transport"),
		workers:     desc("workers", "Workers, by state.", "state"),
		starts:      desc("worker_starts_total", "Workers that were started; each beyond those that are kept is a restart."),
		exits:       desc("worker_exits_total", "Workers that ended, by cause.", "cause"),
		blobs:       newBlobMetrics(desc),
		ready: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rpcpool_rpc_worker_ready_seconds", Help: "Time from the start of a worker until it is ready.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16), NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		}),
	}
	if err := r.Register(m); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.calls, m.refusals, m.duplicates, m.expired, m.dropped, m.running, m.waiting, m.sessions, m.entries, m.bytes,
		m.broken, m.connections, m.transports, m.workers, m.starts, m.exits,
	} {
		ch <- d
	}
	m.blobs.describe(ch)
	m.ready.Describe(ch)
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.ready.Collect(ch)
	s := m.server.Load()
	if s == nil {
		return
	}
	n := s.core.Counts()
	for d, v := range map[*prometheus.Desc]uint64{
		m.refusals: n.Refusals, m.duplicates: n.Duplicates, m.expired: n.Expired, m.dropped: n.Dropped,
	} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	for d, v := range map[*prometheus.Desc]int{
		m.running: n.Running, m.waiting: n.Waiting, m.sessions: n.Sessions, m.entries: n.Entries, m.bytes: n.Bytes,
	} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	for protocol, v := range s.connections() {
		ch <- prometheus.MustNewConstMetric(m.connections, prometheus.GaugeValue, float64(v), protocol)
	}
	for transport, v := range s.conns.Transports() {
		ch <- prometheus.MustNewConstMetric(m.transports, prometheus.GaugeValue, float64(v), transport.String())
	}
	broken := 0.0
	if s.core.Broken() != nil {
		broken = 1
	}
	ch <- prometheus.MustNewConstMetric(m.broken, prometheus.GaugeValue, broken)
	if s.blobs != nil {
		m.blobs.collect(ch, s.blobs.Counts(), s.blobs.Moved())
	}
	m.collectCalls(ch, &n.Calls)
	m.collectWorkers(ch, s.pool.Status())
}

// usual are the ends that have a series from the start on, at 0: the first event is an
// increase only to whoever has seen the counter before it.
var usual = map[session.Code]session.Execution{ //nolint:gochecknoglobals // a table
	session.OK: session.Executed, session.Failed: session.Executed, session.Crashed: session.Indeterminate,
	session.Refused: session.NotExecuted, session.Unimplemented: session.NotExecuted, session.Invalid: session.NotExecuted,
}

func (m *Metrics) collectCalls(ch chan<- prometheus.Metric, calls *[session.Codes][session.Executed + 1]uint64) {
	for code := range session.Codes {
		common, is := usual[code]
		for ran := range session.Executed + 1 {
			if n := calls[code][ran]; n > 0 || is && ran == common {
				ch <- prometheus.MustNewConstMetric(m.calls, prometheus.CounterValue, float64(n), code.String(), ran.String())
			}
		}
	}
}

func (m *Metrics) collectWorkers(ch chan<- prometheus.Metric, status workers.Status) {
	ch <- prometheus.MustNewConstMetric(m.starts, prometheus.CounterValue, float64(status.Starts))
	for _, cause := range crash.Causes() {
		ch <- prometheus.MustNewConstMetric(m.exits, prometheus.CounterValue, float64(status.Ends[cause]), string(cause))
	}
	at := map[workers.State]int{
		workers.Starting: 0, workers.Spare: 0, workers.Ready: 0, workers.Busy: 0, workers.Terminating: 0, workers.Backoff: 0,
	}
	for _, state := range status.States {
		at[state]++
	}
	for state, n := range at {
		ch <- prometheus.MustNewConstMetric(m.workers, prometheus.GaugeValue, float64(n), string(state))
	}
}
