package export

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"rpcpool.dev/rpc/accumulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type set struct{}

func (*set) Merge(accumulator.Aggregator) error             { return nil }
func (*set) AppendBinary(dst []byte) ([]byte, error)        { return dst, nil }
func (*set) UnmarshalBinary([]byte) error                   { return nil }
func zone(name string) accumulator.Label                    { return accumulator.Label{Name: "zone", Value: name} }
func gather(t *testing.T, c *Collector) []*dto.MetricFamily { return families(t, registry(c)) }

func registry(c *Collector) *prometheus.Registry {
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	return reg
}

func families(t *testing.T, reg *prometheus.Registry) []*dto.MetricFamily {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// pushed is a server to which nodes have written.
func pushed(t *testing.T, nodes int, write func(*accumulator.Client)) *accumulator.Server {
	t.Helper()
	s, err := accumulator.NewServer(accumulator.ServerOptions{Types: accumulator.Types{"app.set": accumulator.New[set]}})
	if err != nil {
		t.Fatal(err)
	}
	for range nodes {
		c := accumulator.NewClient(s, accumulator.Options{})
		write(c)
		if err := c.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestS1_02_EveryTypeIsExported(t *testing.T) {
	s := pushed(t, 3, func(c *accumulator.Client) {
		c.Sum("instances").Add(2)
		c.Sum("jobs", zone("a")).Add(1)
		c.Sum("jobs", zone("b"), accumulator.Label{Name: "kind", Value: "\"ü\""}).Add(1 << 40)
		c.FloatSum("energy_joules").Add(0.5)
		c.Avg("load").Add(-1.5)
		c.Max("heat").Add(-40)
		c.Min("heat_least").Add(-50)
		c.Timer("step").Observe(1500 * time.Millisecond)
		c.Timer("step").Observe(-time.Second)
		c.Sum("gpu.util").Add(1)
		accumulator.Of[set](c, "app.set", "users").Update(func(*set) {})
	})
	want := `
# HELP rpcpool_accumulator_U__gpu_2e_util_total Sum of the values that were pushed.
# TYPE rpcpool_accumulator_U__gpu_2e_util_total counter
rpcpool_accumulator_U__gpu_2e_util_total 3
# HELP rpcpool_accumulator_energy_joules_total Sum of the values that were pushed.
# TYPE rpcpool_accumulator_energy_joules_total counter
rpcpool_accumulator_energy_joules_total 1.5
# HELP rpcpool_accumulator_heat_least_min Least of the values that were pushed.
# TYPE rpcpool_accumulator_heat_least_min gauge
rpcpool_accumulator_heat_least_min -50
# HELP rpcpool_accumulator_heat_max Greatest of the values that were pushed.
# TYPE rpcpool_accumulator_heat_max gauge
rpcpool_accumulator_heat_max -40
# HELP rpcpool_accumulator_instances_total Sum of the values that were pushed.
# TYPE rpcpool_accumulator_instances_total counter
rpcpool_accumulator_instances_total 6
# HELP rpcpool_accumulator_jobs_total Sum of the values that were pushed.
# TYPE rpcpool_accumulator_jobs_total counter
rpcpool_accumulator_jobs_total{kind="\"ü\"",zone="b"} 3.298534883328e+12
rpcpool_accumulator_jobs_total{zone="a"} 3
# HELP rpcpool_accumulator_load Sum and number of the values that were pushed.
# TYPE rpcpool_accumulator_load summary
rpcpool_accumulator_load_sum -4.5
rpcpool_accumulator_load_count 3
# HELP rpcpool_accumulator_step_seconds Durations that were pushed.
# TYPE rpcpool_accumulator_step_seconds histogram
rpcpool_accumulator_step_seconds_bucket{le="+Inf"} 6
rpcpool_accumulator_step_seconds_sum 1.5
rpcpool_accumulator_step_seconds_count 6
# HELP rpcpool_accumulator_step_seconds_max Longest of the durations that were pushed.
# TYPE rpcpool_accumulator_step_seconds_max gauge
rpcpool_accumulator_step_seconds_max 1.5
# HELP rpcpool_accumulator_step_seconds_min Shortest of the durations that were pushed.
# TYPE rpcpool_accumulator_step_seconds_min gauge
rpcpool_accumulator_step_seconds_min -1
# HELP rpcpool_accumulators Accumulators at the server.
# TYPE rpcpool_accumulators gauge
rpcpool_accumulators 10
# HELP rpcpool_accumulators_batches_total Batches that clients pushed: merged, duplicate (it was merged before) or refused (nothing of it was taken).
# TYPE rpcpool_accumulators_batches_total counter
rpcpool_accumulators_batches_total{result="duplicate"} 0
rpcpool_accumulators_batches_total{result="merged"} 3
rpcpool_accumulators_batches_total{result="refused"} 0
# HELP rpcpool_accumulators_clients Clients whose last batch the server remembers.
# TYPE rpcpool_accumulators_clients gauge
rpcpool_accumulators_clients 3
# HELP rpcpool_accumulators_hidden Accumulators that are not exported: custom ones, and those whose name another one has.
# TYPE rpcpool_accumulators_hidden gauge
rpcpool_accumulators_hidden 1
# HELP rpcpool_accumulators_rejected_total Accumulators in batches that were not merged: of another type, too many, or malformed.
# TYPE rpcpool_accumulators_rejected_total counter
rpcpool_accumulators_rejected_total 0
`
	if err := testutil.CollectAndCompare(NewCollector(s), strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestTimersAreNativeHistograms(t *testing.T) {
	s := pushed(t, 2, func(c *accumulator.Client) {
		for _, d := range []time.Duration{0, time.Second, 2 * time.Second, -time.Second, time.Millisecond} {
			c.Timer("step").Observe(d)
		}
	})
	for _, f := range gather(t, NewCollector(s)) {
		if f.GetName() != "rpcpool_accumulator_step_seconds" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		if h.GetSchema() != 2 || h.GetZeroCount() != 2 || h.GetSampleCount() != 10 || h.GetCreatedTimestamp() == nil {
			t.Errorf("%v", h)
		}
		// 1 ms is in the bucket that ends at 2^(-39/4) s; 1 s and 2 s end buckets.
		if d := cmp.Diff([]int32{-39, 38, 3}, offsets(h.GetPositiveSpan())); d != "" {
			t.Errorf("buckets of positive durations: %s", d)
		}
		if d := cmp.Diff([]int32{0}, offsets(h.GetNegativeSpan())); d != "" {
			t.Errorf("buckets of negative durations: %s", d)
		}
		return
	}
	t.Error("there is none")
}

func offsets(spans []*dto.BucketSpan) (all []int32) {
	for _, s := range spans {
		all = append(all, s.GetOffset())
	}
	return all
}

func TestWhatIsEmptyShowsNoValue(t *testing.T) {
	s := pushed(t, 1, func(c *accumulator.Client) {
		c.Max("a").Add(1)
		c.Min("b").Add(1)
		c.Timer("c").Observe(1)
		c.Sum("d").Add(1)
	})
	for _, name := range []string{"a", "b", "c", "d"} {
		if err := s.Reset(name); err != nil {
			t.Error(err)
		}
	}
	want := `
# HELP rpcpool_accumulator_c_seconds Durations that were pushed.
# TYPE rpcpool_accumulator_c_seconds histogram
rpcpool_accumulator_c_seconds_bucket{le="+Inf"} 0
rpcpool_accumulator_c_seconds_sum 0
rpcpool_accumulator_c_seconds_count 0
# HELP rpcpool_accumulator_d_total Sum of the values that were pushed.
# TYPE rpcpool_accumulator_d_total counter
rpcpool_accumulator_d_total 0
# HELP rpcpool_accumulators_hidden Accumulators that are not exported: custom ones, and those whose name another one has.
# TYPE rpcpool_accumulators_hidden gauge
rpcpool_accumulators_hidden 0
`
	names := []string{"rpcpool_accumulators_hidden"}
	for _, n := range []string{"a_max", "b_min", "c_seconds", "c_seconds_min", "c_seconds_max", "d_total"} {
		names = append(names, prefix+n)
	}
	if err := testutil.CollectAndCompare(NewCollector(s), strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

// Whatever is pushed, a scrape does not fail: not by names that meet.
func TestNamesThatMeetDoNotBreakTheScrape(t *testing.T) {
	s := pushed(t, 1, func(c *accumulator.Client) {
		c.Avg("x").Add(1)
		c.Avg("x", zone("a")).Add(1)
		c.Avg("x_sum").Add(1)                          // a family with the name of a sample of the first
		c.Max("y").Add(1)                              //
		c.Avg("y_max").Add(1)                          // the same name, another type
		c.Timer("z").Observe(1)                        //
		c.Avg("z_seconds").Add(1)                      // the same
		c.Sum("a.b").Add(1)                            //
		c.Sum("U__a_2e_b").Add(1)                      // what the first is escaped to
		c.Sum("1 ü", zone(string([]rune{'ü'}))).Add(1) // a name of nothing that a metric's may have
	})
	reg := registry(NewCollector(s))
	families(t, reg)
	if n, err := testutil.GatherAndCount(reg, prefix+"x"); err != nil || n != 2 {
		t.Errorf("%d series, %v", n, err)
	}
	want := "# HELP rpcpool_accumulators_hidden Accumulators that are not exported: custom ones, and those whose name another one has.\n" +
		"# TYPE rpcpool_accumulators_hidden gauge\nrpcpool_accumulators_hidden 4\n"
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "rpcpool_accumulators_hidden"); err != nil {
		t.Error(err)
	}
}

func TestStartsAreSeen(t *testing.T) {
	s := pushed(t, 1, func(c *accumulator.Client) {
		c.Sum("a").Add(1)
		c.Avg("b").Add(1)
	})
	start := s.Start()
	seen := 0
	for _, f := range gather(t, NewCollector(s)) {
		if m := f.GetMetric()[0]; strings.HasPrefix(f.GetName(), prefix) {
			created := m.GetCounter().GetCreatedTimestamp()
			if f.GetType() == dto.MetricType_SUMMARY {
				created = m.GetSummary().GetCreatedTimestamp()
			}
			if created == nil || created.AsTime().Before(start.Truncate(0)) {
				t.Errorf("%s began at %v", f.GetName(), created)
			}
			seen++
		}
	}
	if seen != 2 {
		t.Errorf("%d families", seen)
	}
}

// A hostile client may claim more durations than Prometheus has a number for.
func TestBucketsThatOverflowAreHidden(t *testing.T) {
	huge := &accumulator.Span{Counts: []uint64{math.MaxUint64}}
	if n := counts(*huge)[0]; n != math.MaxInt64 {
		t.Errorf("%d", n)
	}
}
