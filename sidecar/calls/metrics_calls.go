package calls

import (
	"cmp"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/rpc/compress"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/schedule"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
)

// usual are the ends that have a series from the start on, at 0: the first event is an
// increase only to whoever has seen the counter before it. Of a method that has run they are
// the ends of runs alone.
var usual = map[session.Code]session.Execution{ //nolint:gochecknoglobals // a table
	session.OK: session.Executed, session.Failed: session.Executed, session.Crashed: session.Indeterminate,
	session.Refused: session.NotExecuted, session.Unimplemented: session.NotExecuted, session.Invalid: session.NotExecuted,
}

// collectMethod shows what has become of one method's calls. Methods have names of their own
// when they have run, and while there are not too many: no client makes series by inventing
// names.
func (m *Metrics) collectMethod(ch chan<- prometheus.Metric, t *server.Tally) {
	method := cmp.Or(t.Method, server.OtherMethods)
	for via := range server.Vias {
		ran := t.Ends[via] != server.Ends{}
		of := func(common session.Execution) bool {
			return ran && t.Method != "" && common != session.NotExecuted || t.Method == "" && via == server.TCP
		}
		for code := range session.Codes {
			common, is := usual[code]
			for x := range session.Executed + 1 {
				if n := t.Ends[via][code][x]; n > 0 || is && x == common && of(common) {
					ch <- prometheus.MustNewConstMetric(m.calls, prometheus.CounterValue, float64(n), method, code.String(), x.String(), via.String())
				}
			}
		}
	}
	collectTimes(ch, m.waited, &t.Waited, method)
	collectTimes(ch, m.took, &t.Took, method)
}

// collectTimes shows a histogram, in which each bucket has the identity of the last call that
// it counts.
func collectTimes(ch chan<- prometheus.Metric, d *prometheus.Desc, t *server.Times, method string) {
	count, upTo := t.Cumulative()
	h := prometheus.MustNewConstHistogram(d, count, t.Sum.Seconds(), upTo, method)
	var examples []prometheus.Exemplar
	for _, e := range t.Last {
		if e.XID != (session.XID{}) {
			examples = append(examples, prometheus.Exemplar{Value: e.Took.Seconds(), Labels: prometheus.Labels{"xid": e.XID.String()}, Timestamp: e.At})
		}
	}
	if len(examples) > 0 {
		if with, err := prometheus.NewMetricWithExemplars(h, examples...); err == nil {
			h = with
		}
	}
	ch <- h
}

// collectRefusals shows what was not taken, and what was no new call.
func (m *Metrics) collectRefusals(ch chan<- prometheus.Metric, n *server.Counts) {
	other := n.Refusals - n.Drained
	for reason := schedule.Full; reason < schedule.Reasons; reason++ {
		ch <- prometheus.MustNewConstMetric(m.refusals, prometheus.CounterValue, float64(n.Turned[reason]), reason.String())
		if reason != schedule.Late { // which is an end of its own
			other -= n.Turned[reason]
		}
	}
	ch <- prometheus.MustNewConstMetric(m.refusals, prometheus.CounterValue, float64(n.Drained), "draining")
	ch <- prometheus.MustNewConstMetric(m.refusals, prometheus.CounterValue, float64(other), "other")
	for kind, v := range map[string]uint64{
		"running": n.Duplicates - n.Answered - n.Misused, "ended": n.Answered, "stale": n.Stale, "misused": n.Misused, "twin": n.Twins,
	} {
		ch <- prometheus.MustNewConstMetric(m.strange, prometheus.CounterValue, float64(v), kind)
	}
}

func (m *Metrics) collectConns(ch chan<- prometheus.Metric, n conn.Counts, packed compress.Counts) {
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	count(m.closed, n.Reaped, "idle")
	count(m.closed, n.Silent, "silent")
	count(m.messages, n.Messages)
	count(m.batches, n.Batches)
	count(m.packed, packed.Plain, "sent", "plain")
	count(m.packed, packed.Packed, "sent", "packed")
	count(m.packed, packed.Gave, "received", "plain")
	count(m.packed, packed.Took, "received", "packed")
}
