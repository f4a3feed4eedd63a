package metrics

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/sidecar"
	"rpcpool.dev/tracker"
)

// described is a registerer that keeps what collectors say about themselves.
type described struct{ docs map[string]string }

func (d described) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc, 100)
	c.Describe(ch)
	close(ch)
	name := regexp.MustCompile(`fqName: "([^"]*)"`)
	labels := regexp.MustCompile(`variableLabels: \{([^}]*)\}`)
	for desc := range ch {
		text := desc.String()
		d.docs[name.FindStringSubmatch(text)[1]] = labels.FindStringSubmatch(text)[1]
	}
	return nil
}

func (d described) MustRegister(...prometheus.Collector) {}
func (d described) Unregister(prometheus.Collector) bool { return false }

// TestTheReferenceListsEveryMetricWithItsLabels holds docs/metrics.md to the
// code, in both directions.
func TestTheReferenceListsEveryMetricWithItsLabels(t *testing.T) {
	d := described{docs: map[string]string{}}
	if _, err := tracker.NewMetrics(d); err != nil {
		t.Fatal(err)
	}
	if _, err := sidecar.NewMetrics(d); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(rpcpool_\\w+)` \\| \\w+ \\|([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		rows[m[1]] = strings.NewReplacer("`", "", " ", "").Replace(m[2])
	}
	for name, labels := range d.docs {
		row, ok := rows[name]
		if !ok {
			t.Errorf("docs/metrics.md lacks %s{%s}", name, labels)
		} else if row != labels {
			t.Errorf("docs/metrics.md gives %s the labels %q, the code %q", name, row, labels)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("docs/metrics.md has %s, the code has not", name)
	}
}
