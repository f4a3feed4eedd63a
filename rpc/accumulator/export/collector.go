package export

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"rpcpool.dev/rpc/accumulator"
)

const prefix = "rpcpool_accumulator_"

// Source is what a [Collector] reads; an [accumulator.Server] is one.
type Source interface {
	List() ([]accumulator.Value, error)
	Counts() accumulator.Counts
}

// Collector reads a server at each scrape. It is what Prometheus calls unchecked: a
// registry can neither tell that it has it already, nor unregister it.
type Collector struct {
	source Source

	series   *prometheus.Desc
	clients  *prometheus.Desc
	batches  *prometheus.Desc
	rejected *prometheus.Desc
	hidden   *prometheus.Desc
}

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector returns the collector of a server's accumulators.
func NewCollector(source Source) *Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &Collector{
		source:   source,
		series:   desc("rpcpool_accumulators", "Accumulators at the server."),
		clients:  desc("rpcpool_accumulators_clients", "Clients whose last batch the server remembers."),
		batches:  desc("rpcpool_accumulators_batches_total", "Batches that clients pushed: merged, duplicate (it was merged before) or refused (nothing of it was taken).", "result"),
		rejected: desc("rpcpool_accumulators_rejected_total", "Accumulators in batches that were not merged: of another type, too many, or malformed."),
		hidden:   desc("rpcpool_accumulators_hidden", "Accumulators that are not exported: custom ones, and those whose name another one has."),
	}
}

// Describe implements [prometheus.Collector]. It describes nothing: accumulators come
// and go.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	counts := c.source.Counts()
	gauge := func(d *prometheus.Desc, v int) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(c.series, counts.Series)
	gauge(c.clients, counts.Clients)
	counter(c.batches, counts.Merged, "merged")
	counter(c.batches, counts.Duplicates, "duplicate")
	counter(c.batches, counts.Refused, "refused")
	counter(c.rejected, counts.Rejected)
	values, _ := c.source.List() // those that fail are not there, and so hidden
	exported := 0
	names := claims{}
	for i := range values {
		metrics := export(&values[i], names)
		for _, m := range metrics {
			ch <- m
		}
		if metrics != nil {
			exported++
		}
	}
	gauge(c.hidden, max(counts.Series-exported, 0))
}

// claims says which accumulator has the name of a sample.
type claims map[string]string

// claim takes names for an accumulator; false: another one has one of them.
func (c claims) claim(owner string, names ...string) bool {
	if slices.ContainsFunc(names, func(n string) bool { return cmp.Or(c[n], owner) != owner }) {
		return false
	}
	for _, n := range names {
		c[n] = owner
	}
	return true
}

// value is an accumulator on its way to Prometheus.
type value struct {
	*accumulator.Value
	base         string
	labels       []string
	labelsValues []string
}

// export returns the metrics of an accumulator, nil if there can be none.
func export(v *accumulator.Value, names claims) []prometheus.Metric {
	e := value{Value: v, base: prefix + model.EscapeName(v.Name, model.ValueEncodingEscaping)}
	for _, l := range v.Labels {
		e.labels, e.labelsValues = append(e.labels, l.Name), append(e.labelsValues, l.Value)
	}
	metrics, err := e.metrics(names)
	if err != nil {
		return nil
	}
	return metrics
}

var errHidden = errors.New("not exported")

func (e *value) metrics(names claims) ([]prometheus.Metric, error) {
	claim := func(suffixes ...string) bool {
		var all []string
		for _, s := range suffixes {
			all = append(all, e.base+s)
		}
		return names.claim(e.Name, all...)
	}
	switch s := e.State.(type) {
	case *accumulator.Sum:
		if claim("_total") {
			return e.counter(s.Float64())
		}
	case *accumulator.FloatSum:
		if claim("_total") {
			return e.counter(s.Value())
		}
	case *accumulator.Avg:
		if claim("", "_sum", "_count") {
			return e.summary(s)
		}
	case *accumulator.Max:
		if claim("_max") {
			return e.gauge("_max", "Greatest of the values that were pushed.", s.Value)
		}
	case *accumulator.Min:
		if claim("_min") {
			return e.gauge("_min", "Least of the values that were pushed.", s.Value)
		}
	case *accumulator.Timer:
		if claim("_seconds", "_seconds_sum", "_seconds_count", "_seconds_bucket", "_seconds_min", "_seconds_max") {
			return e.timer(s)
		}
	}
	return nil, errHidden
}

func (e *value) desc(suffix, help string) *prometheus.Desc {
	return prometheus.NewDesc(e.base+suffix, help, e.labels, nil)
}

func (e *value) counter(v float64) ([]prometheus.Metric, error) {
	m, err := prometheus.NewConstMetricWithCreatedTimestamp(e.desc("_total", "Sum of the values that were pushed."),
		prometheus.CounterValue, v, e.Start, e.labelsValues...)
	return []prometheus.Metric{m}, err
}

func (e *value) summary(a *accumulator.Avg) ([]prometheus.Metric, error) {
	m, err := prometheus.NewConstSummaryWithCreatedTimestamp(e.desc("", "Sum and number of the values that were pushed."),
		a.Count(), a.Sum(), nil, e.Start, e.labelsValues...)
	return []prometheus.Metric{m}, err
}

// gauge is an empty list if there is no value.
func (e *value) gauge(suffix, help string, get func() (float64, bool)) ([]prometheus.Metric, error) {
	v, ok := get()
	if !ok {
		return []prometheus.Metric{}, nil
	}
	m, err := prometheus.NewConstMetric(e.desc(suffix, help), prometheus.GaugeValue, v, e.labelsValues...)
	return []prometheus.Metric{m}, err
}

func (e *value) timer(t *accumulator.Timer) ([]prometheus.Metric, error) {
	stats, buckets := t.Stats(time.Second), t.Buckets()
	h, err := prometheus.NewConstNativeHistogram(e.desc("_seconds", "Durations that were pushed."), t.Count(), stats.Sum,
		counts(buckets.Positive), counts(buckets.Negative), buckets.Zero, accumulator.BucketSchema, 0, e.Start, e.labelsValues...)
	if err != nil || t.Count() == 0 {
		return []prometheus.Metric{h}, err
	}
	shortest, err1 := e.gauge("_seconds_min", "Shortest of the durations that were pushed.", func() (float64, bool) { return stats.Min, true })
	longest, err2 := e.gauge("_seconds_max", "Longest of the durations that were pushed.", func() (float64, bool) { return stats.Max, true })
	return slices.Concat([]prometheus.Metric{h}, shortest, longest), errors.Join(err1, err2)
}

func counts(s accumulator.Span) map[int]int64 {
	m := map[int]int64{}
	for i, n := range s.Counts {
		if n > 0 {
			m[s.First+i] = int64(min(n, math.MaxInt64))
		}
	}
	return m
}
