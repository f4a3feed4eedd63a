package monitoring

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	_ "sigs.k8s.io/controller-runtime/pkg/controller" // registers the metrics of controllers
	runtimemetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/test/internal/promtest"
)

// metric is one that a program tells, or a rule records.
type metric struct {
	labels []string
	help   string
}

// What a target's metrics get besides their own labels: by the scrape, by the
// monitors of config/prometheus, by whoever runs several trackers.
var (
	ofTarget  = []string{"job", "instance"}
	ofSection = map[string][]string{
		"tracker":  {"namespace", "tracker"},
		"server":   {"namespace", "pod", "pool"},
		"calls":    {"namespace", "pod", "pool"},
		"client":   {"service"},
		"operator": {},
	}
	ofOperator = []string{"namespace", "pod"} // of metrics that have no namespace of their own
)

var (
	section = regexp.MustCompile(`(?s)<!-- generated: (\w+) -->\n(.*?)<!-- end -->`)
	row     = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| ([^|]*) \\| (.*) \\|$")
	quoted  = regexp.MustCompile("`(\\w+)`")
)

// knownMetrics are those of the reference, which is what the code says, those of
// controllers, and those that the rules record.
func knownMetrics(t *testing.T) map[string]metric {
	t.Helper()
	known := map[string]metric{"up": {labels: slices.Concat(ofTarget, ofSection["server"])}}
	for _, s := range section.FindAllStringSubmatch(promtest.Read(t, referencePath), -1) {
		for _, m := range row.FindAllStringSubmatch(s[2], -1) {
			labels := slices.Concat(ofTarget, ofSection[s[1]])
			for _, l := range quoted.FindAllStringSubmatch(m[3], -1) {
				labels = append(labels, l[1])
			}
			if m[2] != "histogram" {
				known[m[1]] = metric{labels, m[4]}
				continue
			}
			known[m[1]+"_bucket"] = metric{append(slices.Clone(labels), "le"), m[4]}
			known[m[1]+"_sum"], known[m[1]+"_count"] = metric{labels, m[4]}, metric{labels, m[4]}
		}
	}
	if len(known) < 25 {
		t.Fatalf("only %d metrics are in %s", len(known), referencePath)
	}
	controllerMetrics(t, known)
	for _, r := range promtest.Rules(t).All() {
		if level, _, ok := strings.Cut(r.Record, ":"); ok {
			known[r.Record] = metric{labels: strings.Split(level, "_")}
		}
	}
	return known
}

var described = regexp.MustCompile(`fqName: "([^"]*)".*variableLabels: \{([^}]*)\}`)

func controllerMetrics(t *testing.T, known map[string]metric) {
	t.Helper()
	registry, ok := runtimemetrics.Registry.(prometheus.Collector)
	if !ok {
		t.Fatal("controller-runtime's registry does not describe itself")
	}
	descriptions := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(descriptions)
		close(descriptions)
	}()
	for desc := range descriptions {
		if m := described.FindStringSubmatch(desc.String()); m != nil {
			known[m[1]] = metric{labels: slices.Concat(ofTarget, ofOperator, strings.Split(m[2], ","))}
		}
	}
}

// TestExpressionsNameWhatIsThere: in rules and in the page's queries, every
// metric is told by a program or recorded by a rule, has the labels that are
// asked for, and these can have the values.
func TestExpressionsNameWhatIsThere(t *testing.T) {
	known := knownMetrics(t)
	expressions := map[string]string{}
	for _, r := range promtest.Rules(t).All() {
		expressions[r.Name()] = r.Expr
	}
	for _, q := range promtest.Queries(t) {
		expressions[q.Question] = q.Expr
	}
	for name, expr := range expressions {
		for _, problem := range problems(known, expr) {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

// problems lists what is wrong with the names in an expression.
func problems(known map[string]metric, expr string) (out []string) {
	selectors, grouped := scan(expr)
	var all []string
	for _, s := range selectors {
		m, ok := known[s.Metric]
		if !ok {
			out = append(out, "no metric "+s.Metric)
			continue
		}
		all = append(all, m.labels...)
		for _, asked := range s.Matchers {
			if !slices.Contains(m.labels, asked.Label) {
				out = append(out, s.Metric+" has no label "+asked.Label)
			}
			for _, v := range asked.Values {
				if !possible(m, asked.Label, v) {
					out = append(out, s.Metric+": no "+asked.Label+" is "+v)
				}
			}
		}
	}
	for _, l := range grouped {
		if !slices.Contains(all, l) {
			out = append(out, "grouped by "+l+", which no metric in it has")
		}
	}
	return out
}

// possible tells whether a label can have a value: sets that the code has are
// asked, of others the metric's own description names the values.
func possible(m metric, label, value string) bool {
	switch label {
	case "key", "job":
		return true
	case "controller":
		return value == "rpcpool" || value == "tracker"
	case "type":
		return slices.Contains([]string{v1alpha1.ConditionReady, v1alpha1.ConditionProgressing, v1alpha1.ConditionTrackerReady, v1alpha1.ConditionRDMAReady}, value)
	}
	if (label == "reason" || label == "end_reason") && slices.Contains(supervise.Causes(), supervise.Cause(value)) {
		return true
	}
	return regexp.MustCompile(`(^|[ ,(])` + regexp.QuoteMeta(value) + `([ ,.:;)]|$)`).MatchString(m.help)
}

func TestWrongNamesAreFound(t *testing.T) {
	known := knownMetrics(t)
	for expr, want := range map[string]string{
		`rpcpool_server{state="free"}`:                          "no metric rpcpool_server",
		`sum by (pool) (rpcpool_servers)`:                       "grouped by pool, which no metric in it has",
		`rpcpool_servers{pool="x"}`:                             "rpcpool_servers has no label pool",
		`rpcpool_servers{state=~"free|bussy"}`:                  "rpcpool_servers: no state is bussy",
		`rpcpool_session_ends_total{reason="crash"}`:            "rpcpool_session_ends_total: no reason is crash",
		`rpcpool_pool_condition{type="Tracker"}`:                "rpcpool_pool_condition: no type is Tracker",
		`rate(rpcpool_request_wait_seconds[5m])`:                "no metric rpcpool_request_wait_seconds",
		`controller_runtime_reconcile_errors_total{pool="x"}`:   "controller_runtime_reconcile_errors_total has no label pool",
		`namespace_pool:rpcpool_pool_servers_offered:sum{a=""}`: "namespace_pool:rpcpool_pool_servers_offered:sum has no label a",
	} {
		if got := problems(known, expr); len(got) == 0 || got[0] != want {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}
