package manifest

import (
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"rpcpool.dev/api/v1alpha1"
)

// tableRow is a row of the tables in api/v1alpha1/testdata. A real API server is
// held to them as well (test/envtest).
type tableRow struct {
	Name, Field, Rule string
	Pool              object
}

// readTable returns the rows, and the manifest of each.
func readTable(t *testing.T, name string) (rows []tableRow, manifests [][]byte) {
	t.Helper()
	if err := yaml.UnmarshalStrict(readTestFile(t, "../../api/v1alpha1/testdata/"+name), &rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		pool := object{
			"apiVersion": v1alpha1.GroupVersion().String(), "kind": v1alpha1.Kind,
			"metadata": object{"name": "a"},
			"spec":     object{"server": object{"command": []any{"w"}}},
		}
		merge(pool, row.Pool)
		manifest, err := yaml.Marshal(pool)
		if err != nil {
			t.Fatal(err)
		}
		manifests = append(manifests, manifest)
	}
	return rows, manifests
}

// merge puts the fields of from into into; null removes one.
func merge(into, from object) {
	for name, value := range from {
		child, isObject := value.(object)
		present, wasObject := into[name].(object)
		switch {
		case value == nil:
			delete(into, name)
		case isObject && wasObject:
			merge(present, child)
		default:
			into[name] = value
		}
	}
}

func TestTheTableOfBadPools(t *testing.T) {
	r := newTestReader(t)
	rows, manifests := readTable(t, "bad.yaml")
	for i, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			_, err := r.Read("bad.yaml", manifests[i])
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
	rows, manifests := readTable(t, "good.yaml")
	for i, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			if _, err := r.Read("good.yaml", manifests[i]); err != nil {
				t.Error(err)
			}
		})
	}
}
