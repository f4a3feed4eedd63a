package promtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Files of the project.
const (
	RulesPath = "../../config/prometheus/rules.yaml"
	PagePath  = "../../docs/monitoring.md"
)

// Rule is a recording rule or an alert.
type Rule struct {
	Record      string            `json:"record,omitempty"`
	Alert       string            `json:"alert,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Name is that of the series or of the alert.
func (r Rule) Name() string { return r.Record + r.Alert }

// RuleFile is what Prometheus reads.
type RuleFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []Rule `json:"rules"`
	} `json:"groups"`
}

// All are the rules of all groups.
func (f RuleFile) All() (all []Rule) {
	for _, group := range f.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

// Rules reads the project's rules.
func Rules(t testing.TB) RuleFile {
	t.Helper()
	var file RuleFile
	if err := yaml.UnmarshalStrict([]byte(Read(t, RulesPath)), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.All()) == 0 {
		t.Fatalf("%s has no rules", RulesPath)
	}
	return file
}

// Query is a question of the page and the expression that answers it.
type Query struct{ Question, Expr string }

var (
	questions = regexp.MustCompile("(?ms)^### ([^\n]+)\n(?:[^#\n]*\n)*?```promql\n(.*?)```$")
	config    = regexp.MustCompile("(?ms)^```yaml\n(scrape_configs:\n.*?)```$")
	settings  = regexp.MustCompile(`--set '?([^ '\n]+)'?`)
)

// Queries returns those of the page.
func Queries(t testing.TB) (all []Query) {
	t.Helper()
	page := Read(t, PagePath)
	for _, m := range questions.FindAllStringSubmatch(page, -1) {
		all = append(all, Query{m[1], m[2]})
	}
	if n := strings.Count(page, "```promql"); n == 0 || n != len(all) {
		t.Fatalf("%s has %d expressions, of which %d have a question of their own", PagePath, n, len(all))
	}
	return all
}

// Job is a scrape job.
type Job = map[string]any

// Config is a configuration of Prometheus.
type Config struct {
	Global map[string]any `json:"global,omitempty"`
	Jobs   []Job          `json:"scrape_configs"`
	Rules  []string       `json:"rule_files"`
}

// PageConfig is the one of the page.
func PageConfig(t testing.TB) (c Config) {
	t.Helper()
	m := config.FindStringSubmatch(Read(t, PagePath))
	if m == nil {
		t.Fatalf("%s has no scrape_configs", PagePath)
	}
	if err := yaml.UnmarshalStrict([]byte(m[1]), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// PageSettings are the values of the chart that the page's command sets, KEY=VALUE.
func PageSettings(t testing.TB) (all []string) {
	t.Helper()
	for _, m := range settings.FindAllStringSubmatch(Read(t, PagePath), -1) {
		all = append(all, m[1])
	}
	if len(all) == 0 {
		t.Fatalf("%s sets no values of the chart", PagePath)
	}
	return all
}

// Read returns the text of a file.
func Read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Write makes a YAML file.
func Write(t testing.TB, name string, what any) {
	t.Helper()
	text, err := yaml.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Tool returns the path of promtool or prometheus.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("no %s to test with: run `hack/need.sh %s prometheus`; its service is not needed, and takes port 9090 (%v)", name, name, err)
	}
	return path
}
