package manifest

import "testing"

// BenchmarkNewReader is what every command that reads a manifest pays once:
// parsing the definition, compiling its schema and its CEL rules.
func BenchmarkNewReader(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewReader(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead is one document, with every field set.
func BenchmarkRead(b *testing.B) {
	r := newTestReader(b)
	data := readTestFile(b, "testdata/full.yaml")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Read("full.yaml", data); err != nil {
			b.Fatal(err)
		}
	}
}
