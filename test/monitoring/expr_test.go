package monitoring

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// selector is a metric in an expression, with what is asked of its labels.
type selector struct {
	Metric   string
	Matchers []matcher
}

// matcher asks for a label; Values are those that it names, one by one, or none
// if it is a pattern.
type matcher struct {
	Label  string
	Values []string
}

var (
	duration   = regexp.MustCompile(`\[[^\]]*\]`)
	grouping   = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	identifier = regexp.MustCompile(`\b([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\(|\{[^}]*\})?`)
	matching   = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	plain      = regexp.MustCompile(`^[\w-]+$`)
)

var keywords = []string{"and", "or", "unless", "bool", "offset", "group_left", "group_right"}

// scan lists the selectors of an expression and the labels that it groups by. It
// knows as much of PromQL as the expressions of this project have; whether they
// are well formed is promtool's to say.
func scan(expr string) (selectors []selector, grouped []string) {
	expr = duration.ReplaceAllString(expr, "")
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		grouped = append(grouped, strings.FieldsFunc(g[1], func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	expr = grouping.ReplaceAllString(expr, " ")
	for _, m := range identifier.FindAllStringSubmatch(expr, -1) {
		name, tail := m[1], m[2]
		if tail == "(" || slices.Contains(keywords, name) {
			continue
		}
		s := selector{Metric: name}
		for _, m := range matching.FindAllStringSubmatch(tail, -1) {
			s.Matchers = append(s.Matchers, matcher{m[1], values(m[2], m[3])})
		}
		selectors = append(selectors, s)
	}
	return selectors, grouped
}

func values(operator, text string) (out []string) {
	if !strings.Contains(operator, "~") {
		return []string{text}
	}
	for v := range strings.SplitSeq(text, "|") {
		if plain.MatchString(v) {
			out = append(out, v)
		}
	}
	return out
}

func TestExpressionsAreScanned(t *testing.T) {
	selectors, grouped := scan(`
		sum by (a, b) (rate(x_total{c=~"d|e-f|g.*", h!="i j"}[5m] offset 1h)) / on (k) group_left (l) (x:y:sum{} * on () group_right x:y:sum > 0.5)
		  unless max by(m)(z) == 1e3`)
	want := []selector{
		{Metric: "x_total", Matchers: []matcher{{"c", []string{"d", "e-f"}}, {"h", []string{"i j"}}}},
		{Metric: "x:y:sum"},
		{Metric: "x:y:sum"},
		{Metric: "z"},
	}
	if diff := cmp.Diff(want, selectors); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a", "b", "k", "l", "m"}, grouped); diff != "" {
		t.Error(diff)
	}
}
