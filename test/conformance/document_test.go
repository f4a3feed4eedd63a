//go:build linux

package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// How many rows each table of docs/conformance.md has, and up to which of the
// wire's each must be proved here or say what is missing.
const (
	wireRows, wireHere = 100, 90
	serverRows         = 30
)

var (
	callRow  = regexp.MustCompile(`(?m)^\| (S[1-4]\.\d+|C\.\d+) \|(.*)\|$`)
	callTest = regexp.MustCompile(`^Test(S[1-4]_\d\d|C\d+)_`)
	tableRow = regexp.MustCompile(`(?m)^\| ((?:S0\.)?\d+) \|(.*)\|$`)
	testName = regexp.MustCompile("`((?:Test|Example)\\w*)`")
	funcDecl = regexp.MustCompile(`(?m)^func ((?:Test|Example)\w*)\(`)
)

// testsIn returns the tests of a package's directory.
func testsIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range funcDecl.FindAllStringSubmatch(string(b), -1) {
			names[m[1]] = true
		}
	}
	return names
}

// documented is a row of the document.
type documented struct {
	tests map[string][]string // by directory
	note  string
}

// document is docs/conformance.md.
func document(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "docs/conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// readDocument parses the rows of the wire and of the server: the next to last column names tests,
// "`TestA`, `TestB` (dir); `TestC` (dir)", the last is a note.
func readDocument(t *testing.T) map[string]documented {
	t.Helper()
	rows := map[string]documented{}
	for _, m := range tableRow.FindAllStringSubmatch(document(t), -1) {
		if _, twice := rows[m[1]]; twice {
			t.Fatalf("row %s stands there twice", m[1])
		}
		rows[m[1]] = parseRow(t, m[1], m[2])
	}
	return rows
}

func parseRow(t *testing.T, row, line string) documented {
	t.Helper()
	columns := strings.Split(line, "|")
	if len(columns) < 3 {
		t.Fatalf("row %s lacks columns", row)
	}
	d := documented{tests: map[string][]string{}, note: strings.TrimSpace(columns[len(columns)-1])}
	for group := range strings.SplitSeq(columns[len(columns)-2], ";") {
		names, dir, _ := strings.Cut(group, "(")
		for _, name := range testName.FindAllStringSubmatch(names, -1) {
			dir := strings.TrimSuffix(strings.TrimSpace(dir), ")")
			d.tests[dir] = append(d.tests[dir], name[1])
		}
	}
	return d
}

// check tells what is wrong with a row. Tests with a number must have the
// row's.
func (d documented) check(prefix string, tests func(dir string) map[string]bool) error {
	for dir, names := range d.tests {
		for _, name := range names {
			if !tests(dir)[name] {
				return fmt.Errorf("%s is not a test of %s", name, dir)
			}
			if strings.HasPrefix(prefix, "TestRow") && !strings.HasPrefix(name, prefix) {
				return fmt.Errorf("%s is not called %s…", name, prefix)
			}
		}
	}
	if len(d.tests) == 0 && !strings.HasPrefix(d.note, "later: ") {
		return fmt.Errorf("no test, and no reason why not: %q", d.note)
	}
	return nil
}

func TestConformanceDocument(t *testing.T) {
	t.Parallel()
	rows := readDocument(t)
	if len(rows) != wireRows+serverRows {
		t.Errorf("%d rows are documented, want %d and %d", len(rows), wireRows, serverRows)
	}
	known := map[string]map[string]bool{}
	tests := func(dir string) map[string]bool {
		if known[dir] == nil {
			known[dir] = testsIn(t, dir)
		}
		return known[dir]
	}
	named := map[string]bool{}
	check := func(row, prefix string, must bool) {
		d, ok := rows[row]
		for _, names := range d.tests {
			for _, name := range names {
				named[name] = true
			}
		}
		if err := d.check(prefix, tests); err != nil && (must || len(d.tests) > 0) {
			t.Errorf("row %s: %v", row, err)
		}
		if !ok {
			t.Errorf("row %s is missing", row)
		}
	}
	for n := 1; n <= wireRows; n++ {
		check(fmt.Sprint(n), fmt.Sprintf("TestRow%03d_", n), n <= wireHere)
	}
	for n := 1; n <= serverRows; n++ {
		check(fmt.Sprintf("S0.%d", n), fmt.Sprintf("TestS0_%02d_", n), true)
	}
	for name := range tests("test/conformance") {
		if (strings.HasPrefix(name, "TestRow") || strings.HasPrefix(name, "TestS0_")) && !named[name] {
			t.Errorf("%s is not documented", name)
		}
	}
}

// What is said to be proved of calls is, and every test that proves a row is named.
func TestConformanceDocumentOfCalls(t *testing.T) {
	t.Parallel()
	known := map[string]map[string]bool{}
	for _, dir := range []string{"rpc/session", "rpc/session/sim"} {
		known[dir] = testsIn(t, dir)
	}
	named := map[string]bool{}
	for _, m := range callRow.FindAllStringSubmatch(document(t), -1) {
		d := parseRow(t, m[1], m[2])
		if err := d.check("", func(dir string) map[string]bool { return known[dir] }); err != nil {
			t.Errorf("row %s: %v", m[1], err)
		}
		for _, names := range d.tests {
			for _, name := range names {
				named[name] = true
			}
		}
	}
	for dir, names := range known {
		for name := range names {
			if callTest.MatchString(name) && !named[name] {
				t.Errorf("%s of %s is not documented", name, dir)
			}
		}
	}
	if len(named) == 0 {
		t.Error("no test of calls is named")
	}
}
