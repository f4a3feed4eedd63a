package monitoring

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// query is a question of the page and the expression that answers it.
type query struct{ question, expr string }

var (
	questions = regexp.MustCompile("(?ms)^### ([^\n]+)\n(?:[^#\n]*\n)*?```promql\n(.*?)```$")
	alertRow  = regexp.MustCompile("(?m)^\\| `(RPCPool\\w+)` \\| (\\w+), (\\w+) \\| ([^|]+) \\| ([^|]+) \\|$")
	recordRow = regexp.MustCompile("(?m)^\\| `(\\w+:\\w+:\\w+)` \\| ([^|]+) \\|$")
	config    = regexp.MustCompile("(?ms)^```yaml\n(scrape_configs:\n.*?)```$")
)

// queries returns those of the page.
func queries(t *testing.T) (all []query) {
	t.Helper()
	page := read(t, pagePath)
	for _, m := range questions.FindAllStringSubmatch(page, -1) {
		all = append(all, query{m[1], m[2]})
	}
	if n := strings.Count(page, "```promql"); n == 0 || n != len(all) {
		t.Fatalf("%s has %d expressions, of which %d have a question of their own", pagePath, n, len(all))
	}
	return all
}

// TestEveryRuleIsOnThePage, an alert with its severity and its time, and no
// other is.
func TestEveryRuleIsOnThePage(t *testing.T) {
	page := read(t, pagePath)
	found := map[string]string{}
	for _, m := range alertRow.FindAllStringSubmatch(page, -1) {
		found[m[1]] = m[2] + ", " + m[3]
	}
	for _, m := range recordRow.FindAllStringSubmatch(page, -1) {
		found[m[1]] = "recorded"
	}
	for _, r := range rules(t) {
		want := "recorded"
		if r.Alert != "" {
			want = r.Labels["severity"] + ", " + r.For
		}
		if found[r.name()] != want {
			t.Errorf("%s: the page says %q, the rules %q", r.name(), found[r.name()], want)
		}
		delete(found, r.name())
	}
	for name := range found {
		t.Errorf("%s is on the page and not among the rules", name)
	}
}

// TestPrometheusTakesThePagesConfiguration, but for the discovery of pods, which
// Debian's Prometheus is built without.
func TestPrometheusTakesThePagesConfiguration(t *testing.T) {
	m := config.FindStringSubmatch(read(t, pagePath))
	if m == nil {
		t.Fatalf("%s has no scrape_configs", pagePath)
	}
	var parsed struct {
		Jobs  []map[string]any `json:"scrape_configs"`
		Rules []string         `json:"rule_files"`
	}
	if err := yaml.UnmarshalStrict([]byte(m[1]), &parsed); err != nil {
		t.Fatal(err)
	}
	var names []any
	for _, job := range parsed.Jobs {
		names = append(names, job["job_name"])
		delete(job, "kubernetes_sd_configs")
	}
	if want := []any{"rpcpool-operator", "rpcpool-sidecar", "rpcpool"}; !cmp.Equal(want, names) {
		t.Errorf("jobs %v, want %v, which the rules know", names, want)
	}
	text, err := yaml.Marshal(map[string]any{"scrape_configs": parsed.Jobs, "rule_files": parsed.Rules})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "config", "--syntax-only", path)
}
