// Package examples has programs that use package rpc; each is in a folder of its own. Its
// test holds the guide against them.
package examples

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestTheGuidesCodeIsFromTheExamples(t *testing.T) {
	guide, err := os.ReadFile("../docs/rpc-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*/main.go")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	var code strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(b)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(guide, -1)
	if len(blocks) < 8 {
		t.Fatalf("the guide has %d pieces of code", len(blocks))
	}
	for _, b := range blocks {
		if !strings.Contains(code.String(), string(b[1])) {
			t.Errorf("no example has\n%s", b[1])
		}
	}
}
