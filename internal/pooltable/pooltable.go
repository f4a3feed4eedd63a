// Package pooltable reads the tables of good and bad pools in
// api/v1alpha1/testdata, to which tests hold whoever reads manifests: `rpcpool
// local` and a real API server.
package pooltable

import (
	"os"
	"testing"

	"sigs.k8s.io/yaml"

	"rpcpool.dev/api/v1alpha1"
)

// Object is a JSON object.
type Object = map[string]any

// Row is a pool. A bad one is refused with Rule said of Field.
type Row struct {
	Name, Field, Rule string
	// Pool is merged into the least manifest, see [Manifest].
	Pool Object
}

// Read returns the rows of a file, for the tests of a package that is two
// directories below the module's root.
func Read(t testing.TB, file string) (rows []Row) {
	t.Helper()
	text, err := os.ReadFile("../../api/v1alpha1/testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// Manifest is the least that a pool can say, and more.
func Manifest(more Object) Object {
	manifest := Object{
		"apiVersion": v1alpha1.GroupVersion().String(), "kind": v1alpha1.Kind,
		"metadata": Object{"name": "a"},
		"spec":     Object{"server": Object{"command": []any{"w"}}},
	}
	Merge(manifest, more)
	return manifest
}

// Merge puts the fields of from into into; null removes one.
func Merge(into, from Object) {
	for name, value := range from {
		child, isObject := value.(Object)
		present, wasObject := into[name].(Object)
		switch {
		case value == nil:
			delete(into, name)
		case isObject && wasObject:
			Merge(present, child)
		default:
			into[name] = value
		}
	}
}
