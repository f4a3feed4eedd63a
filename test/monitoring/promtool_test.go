package monitoring

import (
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	"rpcpool.dev/test/internal/promtest"
)

// cases is a file of tests for promtool, as far as we look into it.
type cases struct {
	Tests []struct {
		Alerts []struct {
			Name string `json:"alertname"`
			Want []any  `json:"exp_alerts"`
		} `json:"alert_rule_test"`
		Expressions []struct {
			Expr string `json:"expr"`
			Want []any  `json:"exp_samples"`
		} `json:"promql_expr_test"`
	} `json:"tests"`
}

func TestPromtoolTakesTheRules(t *testing.T) {
	promtool(t, "check", "rules", promtest.RulesPath)
}

// TestRulesDoWhatTheySay: the series, values and alerts of testdata.
func TestRulesDoWhatTheySay(t *testing.T) {
	for _, file := range caseFiles(t) {
		t.Run(filepath.Base(file), func(t *testing.T) { promtool(t, "test", "rules", file) })
	}
}

// TestEveryRuleHasCases: an alert one in which it fires and one in which it does
// not, a recording rule one that has a value.
func TestEveryRuleHasCases(t *testing.T) {
	fires, quiet, recorded := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, file := range caseFiles(t) {
		var c cases
		if err := yaml.Unmarshal([]byte(promtest.Read(t, file)), &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, test := range c.Tests {
			for _, a := range test.Alerts {
				fires[a.Name] = fires[a.Name] || len(a.Want) > 0
				quiet[a.Name] = quiet[a.Name] || len(a.Want) == 0
			}
			for _, e := range test.Expressions {
				recorded[e.Expr] = recorded[e.Expr] || len(e.Want) > 0
			}
		}
	}
	for _, r := range promtest.Rules(t).All() {
		switch {
		case r.Record != "" && !recorded[r.Record]:
			t.Errorf("%s has no case with a value", r.Record)
		case r.Alert != "" && (!fires[r.Alert] || !quiet[r.Alert]):
			t.Errorf("%s: fires in a case: %v, is quiet in one: %v", r.Alert, fires[r.Alert], quiet[r.Alert])
		}
	}
}

func caseFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	return files
}

// TestAlertsTellWhatPeopleNeed: a severity, a time, and two sentences.
func TestAlertsTellWhatPeopleNeed(t *testing.T) {
	for _, r := range promtest.Rules(t).All() {
		if r.Alert == "" {
			continue
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if r.For == "" {
			t.Errorf("%s fires at once: a single scrape is no evidence", r.Alert)
		}
		for _, name := range []string{"summary", "description"} {
			if r.Annotations[name] == "" {
				t.Errorf("%s has no %s", r.Alert, name)
			}
		}
	}
}
