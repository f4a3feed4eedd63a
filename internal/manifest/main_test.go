package manifest

import (
	"flag"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sharedReader compiles the schema once for all tests: under the race detector
// that takes a while.
var sharedReader = sync.OnceValues(NewReader)

func newTestReader(t testing.TB) *Reader {
	t.Helper()
	r, err := sharedReader()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func readTestFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
