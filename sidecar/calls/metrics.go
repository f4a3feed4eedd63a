package calls

import (
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/workers"
)

// Metrics show what a server does. But for the time to become ready they are read from
// the server when they are asked for. No label grows with clients, methods or calls.
type Metrics struct {
	server atomic.Pointer[Server] // nil: there is none yet
	ready  prometheus.Histogram

	calls, waited, took                                     *prometheus.Desc
	refusals, strange, expired, dropped, unwanted, broken   *prometheus.Desc
	running, waiting, sessions, entries, bytes, connections *prometheus.Desc
	closed, refused, packed, transports, messages, batches  *prometheus.Desc
	workers, starts, exits, looping                         *prometheus.Desc

	blobs blobMetrics
	rdma  rdmaMetrics
}

// NewMetrics makes the metrics of one server and registers them.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("rpcpool_rpc_"+name, help, labels, nil)
	}
	m := &Metrics{
		calls:       desc("calls_total", "Calls that have ended, and runs that ended in a crash, by method, code, whether they ran, and the way that they came: direct, unix, tcp or grpc.", "method", "code", "execution", "transport"),
		waited:      desc("wait_seconds", "Time that calls have waited for a worker, from their arrival to their start.", "method"),
		took:        desc("run_seconds", "Time that calls have run.", "method"),
		refusals:    desc("refusals_total", "Calls that were refused before they were given to a worker: too many wait (full, large, deep), their turn would come too late (hopeless, late), all wait for too long (standing), the server drains (draining), or it was not to be called so (other).", "reason"),
		strange:     desc("duplicates_total", "Messages that are of no new call: of one that waits or runs (running), or has ended (ended, answered from the table), or that its client has closed (stale); another call under a number that was used (misused); another client under an identity that is in use (twin).", "kind"),
		unwanted:    desc("abandoned_total", "Runs that have ended when nobody waited for them any more."),
		expired:     desc("sessions_expired_total", "Sessions of clients that were silent for longer than their lease."),
		dropped:     desc("replies_dropped_total", "Replies that were dropped to stay within the bounds of the table."),
		running:     desc("running", "Calls that run."),
		waiting:     desc("waiting", "Calls that wait for a worker."),
		sessions:    desc("sessions", "Sessions of clients in the table."),
		entries:     desc("entries", "Calls in the table."),
		bytes:       desc("reply_bytes", "Bytes of replies in the table."),
		broken:      desc("journal_broken", "1 if the journal cannot be written: calls that are not idempotent are refused."),
		connections: desc("connections", "Connections of clients, by protocol: native or grpc.", "protocol"),
		closed:      desc("connections_closed_total", "Connections of native clients that the server has closed: idle, or silent (the client answered no ping).", "reason"),
		refused:     desc("connections_refused_total", "Connections of clients that were refused: for a wrong token, or none (token; of gRPC it is its RPCs that count), a handshake of TLS that failed (tls), no TLS where it must be or TLS where there is none (tls-mismatch), too many of them (overload), a handshake that took too long (timeout), or because they spoke something else (protocol).", "reason"),
		messages:    desc("messages_sent_total", "Messages that were queued for native clients: results, notices and pings."),
		batches:     desc("message_batches_total", "Batches in which they were written, mostly by one write each; a long message is several. Messages by batches is how many share a write."),
		packed:      desc("compressed_bytes_total", "Bytes of compressed bodies, sent or received, plain and as they were on the way.", "direction", "form"),
		looping:     desc("crash_loop", "1 while some worker ends again and again before it serves."),
		transports:  desc("transports", "Connections of clients that speak the native protocol, by what they have come by: unix, tcp or tls.", "transport"),
		workers:     desc("workers", "Workers, by state.", "state"),
		starts:      desc("worker_starts_total", "Workers that were started; each beyond those that are kept is a restart."),
		exits:       desc("worker_exits_total", "Workers that ended, by cause.", "cause"),
		blobs:       newBlobMetrics(desc),
		rdma:        newRDMAMetrics(desc),
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
		m.calls, m.waited, m.took, m.refusals, m.strange, m.expired, m.dropped, m.unwanted, m.running, m.waiting, m.sessions,
		m.entries, m.bytes, m.broken, m.connections, m.transports, m.closed, m.refused, m.messages, m.batches, m.packed, m.workers, m.starts, m.exits, m.looping,
	} {
		ch <- d
	}
	m.blobs.describe(ch)
	m.rdma.describe(ch)
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
		m.expired: n.Expired, m.dropped: n.Dropped, m.unwanted: n.Unwanted,
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
	ch <- prometheus.MustNewConstMetric(m.broken, prometheus.GaugeValue, indicator(s.core.Broken() != nil))
	for transport, v := range s.conns.Transports() {
		ch <- prometheus.MustNewConstMetric(m.transports, prometheus.GaugeValue, float64(v), transport.String())
	}
	if s.blobs != nil {
		m.blobs.collect(ch, s.blobs.Counts(), s.blobs.Moved())
	}
	if d := s.opts.devices; d != nil {
		status := d.keeper.Status()
		m.rdma.collect(ch, &status)
	}
	m.collectRefusals(ch, &n)
	m.collectConns(ch, s.conns.Counts(), s.door.Packed())
	for why, v := range s.refused() {
		ch <- prometheus.MustNewConstMetric(m.refused, prometheus.CounterValue, float64(v), conn.Refusal(why).String())
	}
	for _, t := range s.core.Tallies() {
		m.collectMethod(ch, &t)
	}
	m.collectWorkers(ch, s.pool.Status())
}

func (m *Metrics) collectWorkers(ch chan<- prometheus.Metric, status workers.Status) {
	ch <- prometheus.MustNewConstMetric(m.starts, prometheus.CounterValue, float64(status.Starts))
	ch <- prometheus.MustNewConstMetric(m.looping, prometheus.GaugeValue, indicator(status.CrashLoop))
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

func indicator(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
