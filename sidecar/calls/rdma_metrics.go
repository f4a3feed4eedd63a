package calls

import (
	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/rpc/rdma"
	"rpcpool.dev/rpc/rdma/keeper"
)

// rdmaMetrics show what goes by RDMA devices, of a server that was promised some. Reasons are
// a closed set.
type rdmaMetrics struct {
	open, opens, pulls, bytes, failures *prometheus.Desc
	queues, made, broken                *prometheus.Desc
	registered, registrations, stuck    *prometheus.Desc
}

func newRDMAMetrics(desc func(name, help string, labels ...string) *prometheus.Desc) rdmaMetrics {
	return rdmaMetrics{
		open:          desc("rdma_device_in_use", "1 if blobs go by an RDMA device where the other side can; 0: all go by TCP."),
		opens:         desc("rdma_device_opens_total", "RDMA devices that were opened; each after the first is of one that came back, or of another one."),
		pulls:         desc("rdma_pulls_total", "Pulls, by RDMA READ, out of the memory of clients. What clients pull they count themselves."),
		bytes:         desc("rdma_pulled_bytes_total", "Bytes of these."),
		failures:      desc("rdma_pull_failures_total", "Pulls that have failed, by reason. Their bytes went by TCP, or not at all.", "reason"),
		queues:        desc("rdma_queue_pairs", "Queue pairs."),
		made:          desc("rdma_queue_pairs_made_total", "Queue pairs that were made."),
		broken:        desc("rdma_queue_pairs_broken_total", "Queue pairs that have broken. Each is replaced by another one."),
		registered:    desc("rdma_registered_bytes", "Bytes of memory that are pinned for RDMA devices."),
		registrations: desc("rdma_registrations_total", "Registrations of memory."),
		stuck:         desc("rdma_stuck_regions", "Registered memory that a device could not be kept from, and that is never used again."),
	}
}

func (m *rdmaMetrics) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.open, m.opens, m.pulls, m.bytes, m.failures, m.queues, m.made, m.broken, m.registered, m.registrations, m.stuck,
	} {
		ch <- d
	}
}

func (m *rdmaMetrics) collect(ch chan<- prometheus.Metric, s *keeper.Status) {
	open := 0.0
	if s.Why == nil {
		open = 1
	}
	n := s.Counts
	for d, v := range map[*prometheus.Desc]float64{
		m.open: open, m.queues: float64(n.Queues), m.registered: float64(n.RegisteredBytes), m.stuck: float64(n.Stuck),
	} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	for d, v := range map[*prometheus.Desc]uint64{
		m.opens: s.Opens, m.pulls: n.Pulls, m.bytes: n.PulledBytes, m.made: n.QueuesMade, m.broken: n.QueuesBroken, m.registrations: n.Registrations,
	} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	for _, reason := range rdma.Reasons() {
		ch <- prometheus.MustNewConstMetric(m.failures, prometheus.CounterValue, float64(n.Failed[reason]), string(reason))
	}
}
