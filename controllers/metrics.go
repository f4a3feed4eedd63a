package controllers

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
)

// maxPools is how many pools have series of their own; those of the others, the
// last in the alphabet, are left out, and rpcpool_pools tells that there are
// more.
const maxPools = 1000

// Metrics are the operator's, by pool. What a pool's status says is read from
// the cache at each scrape, so that it is of one moment, and is gone with the
// pool. Only the leader tells: sums over replicas are right.
type Metrics struct {
	pools   client.Reader
	elected <-chan struct{}

	mu      sync.Mutex
	counted map[types.NamespacedName]struct{} // pools that have counters

	creations *prometheus.CounterVec
	deletions *prometheus.CounterVec
	count     *prometheus.Desc
	desired   *prometheus.Desc
	pods      *prometheus.Desc
	servers   *prometheus.Desc
	pending   *prometheus.Desc
	condition *prometheus.Desc
}

var _ prometheus.Collector = (*Metrics)(nil)

// NewMetrics registers the operator's metrics with reg.
func NewMetrics(reg prometheus.Registerer, pools client.Reader, elected <-chan struct{}) (*Metrics, error) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"namespace", "pool"}, labels...), nil)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"namespace", "pool"}, labels...))
	}
	m := &Metrics{
		pools: pools, elected: elected, counted: map[types.NamespacedName]struct{}{},
		creations: counter("rpcpool_pool_pods_created_total", "Pods made, by pool."),
		deletions: counter("rpcpool_pool_pods_deleted_total", "Pods deleted, by pool and reason.", "reason"),
		count:     prometheus.NewDesc("rpcpool_pools", "Pools that the operator looks after.", nil, nil),
		desired:   desc("rpcpool_pool_desired_servers", "Servers asked for (spec.replicas), by pool."),
		pods:      desc("rpcpool_pool_pods", "Pods that exist, by pool."),
		servers:   desc("rpcpool_pool_servers", "Servers by pool: free, busy or quarantined, or draining (told to go; it may be busy yet, too). The others are starting or lost.", "state"),
		pending:   desc("rpcpool_pool_pending_requests", "Clients that wait for a server, by pool. Pools of one key and tracker share the queue."),
		condition: desc("rpcpool_pool_condition", "Conditions of a pool: 1 if true, 0 if false, -1 if not known.", "type"),
	}
	if err := reg.Register(m); err != nil {
		return nil, err
	}
	return m, nil
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	m.creations.Describe(ch)
	m.deletions.Describe(ch)
	for _, d := range []*prometheus.Desc{m.count, m.desired, m.pods, m.servers, m.pending, m.condition} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	select {
	case <-m.elected:
	default:
		return
	}
	m.creations.Collect(ch)
	m.deletions.Collect(ch)
	list := &v1alpha1.RPCPoolList{}
	if err := m.pools.List(context.Background(), list, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		return // the cache is not there yet
	}
	ch <- prometheus.MustNewConstMetric(m.count, prometheus.GaugeValue, float64(len(list.Items)))
	pools := make([]*v1alpha1.RPCPool, len(list.Items))
	for i := range list.Items {
		pools[i] = &list.Items[i]
	}
	slices.SortFunc(pools, func(a, b *v1alpha1.RPCPool) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	for _, pool := range pools[:min(len(pools), maxPools)] {
		m.collect(ch, pool)
	}
}

func (m *Metrics) collect(ch chan<- prometheus.Metric, pool *v1alpha1.RPCPool) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{pool.Namespace, pool.Name}, labels...)...)
	}
	s := &pool.Status
	gauge(m.desired, number(pool.Spec.Replicas))
	gauge(m.pods, number(s.Replicas))
	gauge(m.servers, number(s.Free), "free")
	gauge(m.servers, number(s.Busy), "busy")
	gauge(m.servers, number(s.Draining), "draining")
	gauge(m.servers, number(s.Quarantined), "quarantined")
	gauge(m.pending, number(s.PendingRequests))
	for _, c := range s.Conditions {
		gauge(m.condition, truth(c.Status), c.Type)
	}
}

func number(n *int32) float64 {
	if n == nil {
		return 0
	}
	return float64(*n)
}

func truth(s metav1.ConditionStatus) float64 {
	switch s {
	case metav1.ConditionTrue:
		return 1
	case metav1.ConditionFalse:
		return 0
	default:
		return -1
	}
}

// counts tells whether a pool has counters: the first [maxPools] do.
func (m *Metrics) counts(pool *v1alpha1.RPCPool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := client.ObjectKeyFromObject(pool)
	if _, ok := m.counted[key]; !ok && len(m.counted) >= maxPools {
		return false
	}
	m.counted[key] = struct{}{}
	return true
}

func (m *Metrics) created(pool *v1alpha1.RPCPool) {
	if !m.counts(pool) {
		return
	}
	m.creations.WithLabelValues(pool.Namespace, pool.Name).Inc()
}

func (m *Metrics) deleted(pool *v1alpha1.RPCPool, reason string) {
	if !m.counts(pool) {
		return
	}
	m.deletions.WithLabelValues(pool.Namespace, pool.Name, reason).Inc()
}

// forget removes a pool's series.
func (m *Metrics) forget(pool types.NamespacedName) {
	m.mu.Lock()
	delete(m.counted, pool)
	m.mu.Unlock()
	labels := prometheus.Labels{"namespace": pool.Namespace, "pool": pool.Name}
	m.creations.DeletePartialMatch(labels)
	m.deletions.DeletePartialMatch(labels)
}
