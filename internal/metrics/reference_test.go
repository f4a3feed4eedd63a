package metrics

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/controllers"
	ofclients "rpcpool.dev/rpc/client/export"
	"rpcpool.dev/rpc/naming/export"
	"rpcpool.dev/sidecar"
	"rpcpool.dev/sidecar/calls"
	"rpcpool.dev/tracker"
)

const reference = "../../docs/metrics.md"

var update = flag.Bool("update", false, "write docs/metrics.md")

// described is a registerer that writes a row of the reference for each metric
// of a collector.
type described struct{ rows *strings.Builder }

var description = regexp.MustCompile(`fqName: "([^"]*)", help: "((?:[^"\\\\]|\\\\.)*)".*variableLabels: \{([^}]*)\}`)

func (d described) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc, 100)
	c.Describe(ch)
	close(ch)
	for desc := range ch {
		m := description.FindStringSubmatch(desc.String())
		if m == nil {
			return fmt.Errorf("description %s", desc)
		}
		labels := ""
		if m[3] != "" {
			labels = "`" + strings.ReplaceAll(m[3], ",", "`, `") + "`"
		}
		fmt.Fprintf(d.rows, "| `%s` | %s | %s | %s |\n", m[1], kind(m[1]), labels, strings.ReplaceAll(m[2], "|", "\\|"))
	}
	return nil
}

func (d described) MustRegister(...prometheus.Collector) {}
func (d described) Unregister(prometheus.Collector) bool { return false }

// kind of a metric, which its name tells here.
func kind(name string) string {
	switch {
	case strings.HasSuffix(name, "_total"):
		return "counter"
	case strings.HasSuffix(name, "_seconds"):
		return "histogram"
	default:
		return "gauge"
	}
}

// TestMetricsReference: the tables of docs/metrics.md are what the code says.
// With -update it writes them.
func TestMetricsReference(t *testing.T) {
	page, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for name, register := range map[string]func(prometheus.Registerer) error{
		"tracker":  func(r prometheus.Registerer) error { _, err := tracker.NewMetrics(r); return err },
		"server":   func(r prometheus.Registerer) error { _, err := sidecar.NewMetrics(r); return err },
		"calls":    func(r prometheus.Registerer) error { _, err := calls.NewMetrics(r); return err },
		"client":   func(r prometheus.Registerer) error { _, err := ofclients.Register(r, "", nil); return err },
		"registry": func(r prometheus.Registerer) error { _, err := export.Register(r, nil); return err },
		"operator": func(r prometheus.Registerer) error { _, err := controllers.NewMetrics(r, nil, nil); return err },
	} {
		d := described{rows: &strings.Builder{}}
		d.rows.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
		if err := register(d); err != nil {
			t.Fatal(err)
		}
		begin, end := "<!-- generated: "+name+" -->\n", "<!-- end -->"
		before, rest, found := strings.Cut(text, begin)
		_, after, closed := strings.Cut(rest, end)
		if !found || !closed {
			t.Fatalf("%s has no place for the metrics of the %s", reference, name)
		}
		text = before + begin + d.rows.String() + end + after
	}
	if *update {
		if err := os.WriteFile(reference, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != string(page) {
		t.Errorf("%s is stale: run make generate", reference)
	}
}
