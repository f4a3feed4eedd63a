package manifest

import (
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"rpcpool.dev/internal/pooltable"
)

// manifestOf is a row as text. A real API server is held to the same tables
// (test/envtest).
func manifestOf(t *testing.T, row pooltable.Row) []byte {
	t.Helper()
	text, err := yaml.Marshal(pooltable.Manifest(row.Pool))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTheTableOfBadPools(t *testing.T) {
	r := newTestReader(t)
	for _, row := range pooltable.Read(t, "bad.yaml") {
		t.Run(row.Name, func(t *testing.T) {
			_, err := r.Read("bad.yaml", manifestOf(t, row))
			if err == nil {
				t.Fatal("accepted")
			}
			if !slices.ContainsFunc(strings.Split(err.Error(), "\n"), func(line string) bool {
				return strings.HasPrefix(line, "bad.yaml: document 1: "+row.Field+": ") && strings.Contains(line, row.Rule)
			}) {
				t.Errorf("no line names %s and %q:\n%s", row.Field, row.Rule, err)
			}
		})
	}
}

func TestTheTableOfGoodPools(t *testing.T) {
	r := newTestReader(t)
	for _, row := range pooltable.Read(t, "good.yaml") {
		t.Run(row.Name, func(t *testing.T) {
			if _, err := r.Read("good.yaml", manifestOf(t, row)); err != nil {
				t.Error(err)
			}
		})
	}
}
