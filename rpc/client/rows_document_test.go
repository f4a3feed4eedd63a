package client

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test that docs/rpc-rows.md names exists, every row stands there, and has one or says why not, and
// every test of this package that has a row's number is named.
func TestTheDocumentOfRowsIsTrue(t *testing.T) {
	text, err := os.ReadFile("../../docs/rpc-rows.md")
	if err != nil {
		t.Fatal(err)
	}
	dirs := map[string]string{
		"client": ".", "conn": "../conn", "session": "../session", "sim": "../session/sim", "journal": "../journal", "tcp": "../../internal/tcp", "chaos-rpc": "../../test/chaos-rpc",
		"rpc": "..", "workers": "../workers", "worker": "../worker", "naming": "../naming", "registry": "../registry", "accumulator": "../accumulator", "remote": "../accumulator/remote", "far": "../blob/remote", "keeper": "../rdma/keeper", "giveway": "../giveway",
		"calls": "../../sidecar/calls", "codec": "../codec", "compress": "../compress", "schedule": "../schedule", "items": "../items", "examples": "../../examples", "accumulate": "../../examples/accumulate",
		"server": "../server", "blob": "../blob", "shm": "../blob/shm", "agents": "../../sidecar/calls/remote", "blobs": "../../examples/blobs",
		"accumulators": "../accumulator/export", "clients": "export", "grpcdoor": "../grpcdoor", "frame": "../frame", "programs": "../../cmd/rpcpool", "hack": "../../hack", "image": "../../hack/image",
		"mover": "../rdma/mover", "device": "../rdma/device", "build": "../../controllers/build", "rpcpool": "../../cmd/rpcpool",
		"snprintf": "../../examples/snprintf", "bank": "../../examples/bank", "jobs": "../../examples/jobs", "exactlyonce": "../../examples/exactlyonce", "pipeline": "../../examples/pipeline",
		"streams": "../../examples/streams", "deadlines": "../../examples/deadlines", "python": "../../examples/python", "supervise": "../../sidecar/supervise",
	}
	known := map[string]map[string]bool{}
	for name, dir := range dirs {
		known[name] = testsIn(t, dir)
	}
	rows, named := map[string]bool{}, map[string]bool{}
	test := regexp.MustCompile("`(Test\\w+)`")
	for _, m := range regexp.MustCompile(`(?m)^\| (S[1234C]\.\d+|C\.\d+[a-z]?) \|([^|]*)\|([^|]*)\|([^|]*)\|$`).FindAllStringSubmatch(string(text), -1) {
		row, tests, note := m[1], m[3], strings.TrimSpace(m[4])
		if rows[row] {
			t.Errorf("row %s stands there twice", row)
		}
		rows[row] = true
		if strings.TrimSpace(tests) == "" && !strings.HasPrefix(note, "later: ") && !strings.HasPrefix(note, "none: ") {
			t.Errorf("row %s has no test, and no reason why not", row)
		}
		for group := range strings.SplitSeq(tests, ";") {
			list, dir, _ := strings.Cut(group, "(")
			dir = strings.TrimSuffix(strings.TrimSpace(dir), ")")
			for _, name := range test.FindAllStringSubmatch(list, -1) {
				if named[name[1]] = true; !known[dir][name[1]] {
					t.Errorf("row %s: %s is not a test of %q", row, name[1], dir)
				}
			}
		}
	}
	numbered := regexp.MustCompile(`^Test(S[1-4]_\d\d|C\d+)_`)
	for name := range known["client"] {
		if numbered.MatchString(name) && !named[name] {
			t.Errorf("%s is not documented", name)
		}
	}
	for of, last := range map[string]int{"S1": 50, "S2": 27, "S3": 38, "S4": 19, "C": 28} {
		for n := range last + 1 {
			row := fmt.Sprintf("%s.%d", of, n)
			inParts := row == "C.27" && rows["C.27a"]
			if (n > 0 || of == "C") && !rows[row] && !inParts {
				t.Errorf("row %s is left out", row)
			}
		}
	}
}

func testsIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(b), -1) {
			names[m[1]] = true
		}
	}
	return names
}
