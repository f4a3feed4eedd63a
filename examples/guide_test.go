// Package examples has programs that use package rpc; each is in a folder of its own. Its
// test holds the pages about calls against them.
package examples

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestTheCodeOfThePagesIsFromTheExamples(t *testing.T) {
	files, err := filepath.Glob("*/*.go")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files of examples, %v", len(files), err)
	}
	var code strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(b)
	}
	for page, least := range map[string]int{"rpc-overview.md": 2, "rpc-guide.md": 8, "accumulators.md": 8, "accumulator-design.md": 1, "rpc-serve.md": 2} {
		text, err := os.ReadFile("../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(text, -1)
		if len(blocks) < least {
			t.Errorf("%s has %d pieces of code", page, len(blocks))
		}
		for _, b := range blocks {
			if !strings.Contains(code.String(), string(b[1])) {
				t.Errorf("%s: no example has\n%s", page, b[1])
			}
		}
	}
}
