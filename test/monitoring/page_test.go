package monitoring

import (
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rpcpool.dev/test/internal/promtest"
)

var (
	alertRow  = regexp.MustCompile("(?m)^\\| `(RPCPool\\w+)` \\| (\\w+), (\\w+) \\| ([^|]+) \\| ([^|]+) \\|$")
	recordRow = regexp.MustCompile("(?m)^\\| `(\\w+:\\w+:\\w+)` \\| ([^|]+) \\|$")
)

// TestEveryRuleIsOnThePage, an alert with its severity and its time, and no
// other is.
func TestEveryRuleIsOnThePage(t *testing.T) {
	page := promtest.Read(t, promtest.PagePath)
	found := map[string]string{}
	for _, m := range alertRow.FindAllStringSubmatch(page, -1) {
		found[m[1]] = m[2] + ", " + m[3]
	}
	for _, m := range recordRow.FindAllStringSubmatch(page, -1) {
		found[m[1]] = "recorded"
	}
	for _, r := range promtest.Rules(t).All() {
		want := "recorded"
		if r.Alert != "" {
			want = r.Labels["severity"] + ", " + r.For
		}
		if found[r.Name()] != want {
			t.Errorf("%s: the page says %q, the rules %q", r.Name(), found[r.Name()], want)
		}
		delete(found, r.Name())
	}
	for name := range found {
		t.Errorf("%s is on the page and not among the rules", name)
	}
}

// TestPrometheusTakesThePagesConfiguration, but for the discovery of pods, which
// Debian's Prometheus is built without.
func TestPrometheusTakesThePagesConfiguration(t *testing.T) {
	config := promtest.PageConfig(t)
	var names []any
	for _, job := range config.Jobs {
		names = append(names, job["job_name"])
		delete(job, "kubernetes_sd_configs")
	}
	if want := []any{"rpcpool-operator", "rpcpool-sidecar", "rpcpool"}; !cmp.Equal(want, names) {
		t.Errorf("jobs %v, want %v, which the rules know", names, want)
	}
	path := filepath.Join(t.TempDir(), "prometheus.yml")
	promtest.Write(t, path, config)
	promtool(t, "check", "config", "--syntax-only", path)
}
