package grpcdoor

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"rpcpool.dev/rpc/server"
)

// document is docs/grpc.md.
func document(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/grpc.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// block is the content of the document's block of that kind.
func block(t *testing.T, kind string) string {
	t.Helper()
	m := regexp.MustCompile("(?s)```" + regexp.QuoteMeta(kind) + "\n(.*?)```").FindStringSubmatch(document(t))
	if m == nil {
		t.Fatalf("no block %q in the document", kind)
	}
	return m[1]
}

func TestTheTableOfCodesIsTrue(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\| `(CODE_\\w+)` \\| `(\\w+)` \\|").FindAllStringSubmatch(document(t), -1)
	if len(rows) != len(grpcCodes)-1 {
		t.Errorf("%d rows, there are %d codes beside CODE_OK", len(rows), len(grpcCodes)-1)
	}
	told := map[string]string{}
	for _, row := range rows {
		told[row[1]] = row[2]
	}
	words := regexp.MustCompile(`([a-z])([A-Z])`)
	for code, want := range grpcCodes {
		name := strings.ToUpper(words.ReplaceAllString(want.String(), "${1}_${2}"))
		name = strings.Replace(name, "CANCELED", "CANCELLED", 1)
		if got := told[code.String()]; got != name && code != 0 {
			t.Errorf("%v is %s in the document, %s in truth", code, got, name)
		}
	}
}

// tool is a program that a test needs, which skips without it. make test-grpc installs
// them all.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("NOT TESTED: %s is missing (make test-grpc installs it)", name)
	}
	return path
}

// environment is the value of a variable, or otherwise.
func environment(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// session32 is where a session's id is in an output.
var session32 = regexp.MustCompile(`[0-9a-f]{32}/`) //nolint:gochecknoglobals // constant

func TestForeignGrpcurl(t *testing.T) {
	grpcurl := tool(t, environment("GRPCURL", "grpcurl"))
	r := newRig(t, server.Options{}, Options{})
	script, want := "grpcurl() { command \"$GRPCURL\" \"$@\" 2>&1 || true; }\n", ""
	for line := range strings.Lines(block(t, "console")) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			script += strings.ReplaceAll(command, "localhost:9090", r.addr)
		} else {
			want += line
		}
	}
	cmd := exec.CommandContext(soon(t), "sh", "-c", script)
	cmd.Env = append(os.Environ(), "GRPCURL="+grpcurl)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	trim := func(s string) string {
		s = regexp.MustCompile(`\s+`).ReplaceAllString(s, " ") // protobuf's JSON has spaces at random
		return session32.ReplaceAllString(s, "ID/")
	}
	if got := trim(string(out)); got != trim(want) {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// python is a directory with the document's client, and how to run a file in it.
func python(t *testing.T) (dir string, run func(args ...string) string) {
	t.Helper()
	protoc, dir := tool(t, "protoc"), t.TempDir()
	interpreter := tool(t, environment("PYTHON", "python3"))
	command := func(name string, args ...string) string {
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(soon(t), name, args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s %v: %v\n%s%s", name, args, err, &stdout, &stderr)
		}
		return stdout.String()
	}
	if err := exec.CommandContext(context.Background(), interpreter, "-c", "import grpc, google.protobuf").Run(); err != nil {
		t.Skipf("NOT TESTED: Python's grpcio is missing (make test-grpc installs it): %v", err)
	}
	protos, err := filepath.Abs("rpcpoolv1")
	if err != nil {
		t.Fatal(err)
	}
	command(protoc, "--python_out=.", "--proto_path="+protos, "calls.proto")
	for _, name := range []string{"rpcpool.py", "example.py"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(block(t, "python "+name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, func(args ...string) string { return command(interpreter, args...) }
}

func TestForeignPythonExample(t *testing.T) {
	_, run := python(t)
	r := newRig(t, server.Options{}, Options{})
	if got, want := run("example.py", r.addr), block(t, "text example.py"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestForeignPythonPlaysTheRows plays testdata/rows.py, which says what it has seen; how
// often handlers ran is counted here.
func TestForeignPythonPlaysTheRows(t *testing.T) {
	_, run := python(t)
	r := newRig(t, server.Options{}, Options{})
	rows, err := filepath.Abs("testdata/rows.py")
	if err != nil {
		t.Fatal(err)
	}
	got := run(rows, r.addr)
	const want = `duplicates by three channels: {b'ran with x'}
wrong secret: NOT_FOUND CODE_EXPIRED EXECUTION_INDETERMINATE
unknown method: UNIMPLEMENTED CODE_UNIMPLEMENTED EXECUTION_NOT_EXECUTED
cancel overtakes: CODE_CANCELED EXECUTION_NOT_EXECUTED
and its call: CANCELLED CODE_CANCELED EXECUTION_NOT_EXECUTED
long error: 1024 bytes, 3976 cut, the whole 5000
big message: True
lost connection, asked again: b'ran with y'
threads: 200 results, 200 different
closed: NOT_FOUND CODE_EXPIRED EXECUTION_INDETERMINATE
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	r.ran(1 + 1 + 200)
	if n := r.core.Counts().Sessions; n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}
