package main

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// genuine is a real program, static and with modules: this one.
var genuine = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "image-test-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "program"), ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, "program"))
})

// programs writes the real program under names into a directory, and returns where.
func programs(t *testing.T, names ...string) []string {
	t.Helper()
	content, err := genuine()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	paths := make([]string, 0, len(names))
	for _, name := range names {
		paths = append(paths, writeProgram(t, filepath.Join(dir, name), content))
	}
	return paths
}

func writeProgram(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// changed is the real program with something replaced by as many bytes, wherever
// it is.
func changed(t *testing.T, old, by string) []byte {
	t.Helper()
	content, err := genuine()
	if err != nil {
		t.Fatal(err)
	}
	if len(old) != len(by) || !bytes.Contains(content, []byte(old)) {
		t.Fatalf("cannot replace %q by %q", old, by)
	}
	return bytes.ReplaceAll(content, []byte(old), []byte(by))
}

// dynamic is the real program, in which one segment claims to name an interpreter.
func dynamic(t *testing.T) []byte {
	t.Helper()
	content := changed(t, "GOARCH", "GOARCH")
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	const headerSize, tableAt = 56, 64 // of 64 bit ELF; Go puts the table behind the header
	for i, segment := range f.Progs {
		if segment.Type == elf.PT_GNU_STACK {
			f.ByteOrder.PutUint32(content[tableAt+i*headerSize:], uint32(elf.PT_INTERP))
			return content
		}
	}
	t.Fatal("no segment to spare")
	return nil
}

// other is an architecture that is not this one, and whose name is as long.
func other() string {
	if runtime.GOARCH == "amd64" {
		return "arm64"
	}
	return "amd64"
}

// outcome is what a command line did.
type outcome struct {
	status         int
	stdout, stderr string
}

func image(environment string, args ...string) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	getenv := func(string) string { return environment }
	var stdout, stderr strings.Builder
	status := run(ctx, args, getenv, &stdout, &stderr)
	return outcome{status, stdout.String(), stderr.String()}
}

// made runs a command line that must work, and returns the reference it prints.
func made(t *testing.T, environment string, args ...string) string {
	t.Helper()
	o := image(environment, args...)
	if o.status != exitOK || o.stderr != "" {
		t.Fatalf("image %q: status %d, %s", args, o.status, o.stderr)
	}
	return strings.TrimSuffix(o.stdout, "\n")
}

const tag = "registry.example.com/team/rpcpool:v0.1.0"

// files reads a tar.
func files(t *testing.T, r io.Reader) (names []string, headers map[string]*tar.Header, contents map[string][]byte) {
	t.Helper()
	headers, contents = make(map[string]*tar.Header), make(map[string][]byte)
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return names, headers, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
		headers[header.Name], contents[header.Name] = header, content
	}
}

func TestWhatCannotBeAnImageIsRefused(t *testing.T) {
	rpcpool := programs(t, "rpcpool")[0]
	dir := t.TempDir()
	in := func(name string, content []byte) string { return writeProgram(t, filepath.Join(dir, name), content) }
	foreign := changed(t, "build\tGOARCH="+runtime.GOARCH, "build\tGOARCH="+other())
	for name, tc := range map[string]struct {
		programs []string
		want     string
	}{
		"a dynamically linked program": {[]string{in("dynamic", dynamic(t))}, "dynamic: dynamically linked, and the image has no libraries: build it with CGO_ENABLED=0"},
		"programs of two architectures": {[]string{rpcpool, in("foreign", foreign)}, "rpcpool is for linux/" + runtime.GOARCH + ", " + filepath.Join(dir, "foreign") + " for linux/" + other() +
			"; an image is of one platform"},
		"a program of another system":           {[]string{in("bsd", changed(t, "build\tGOOS=linux", "build\tGOOS=xinux"))}, "bsd is for xinux/"},
		"a script":                              {[]string{in("script", []byte("#!/bin/sh\n"))}, "script: not a program for Linux"},
		"a program without its build":           {[]string{in("stripped", changed(t, "\xff Go buildinf:", "\xff no buildinf:"))}, "stripped: not a Go program"},
		"two programs of one name":              {[]string{rpcpool, in("rpcpool", changed(t, "GOARCH", "GOARCH"))}, "have the same name"},
		"a program that is not there":           {[]string{filepath.Join(dir, "missing")}, "missing: no such file"},
		"an entry point that is not among them": {programs(t, "other", "another"), `entry point "rpcpool" is not among the programs: other, another`},
	} {
		out := filepath.Join(t.TempDir(), "image.tar")
		o := image("", append([]string{"--tag", tag, "--out", out}, tc.programs...)...)
		if o.status != exitFailed || !strings.Contains(o.stderr, tc.want) || strings.Count(o.stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %q, want one line with %q", name, o.status, o.stderr, tc.want)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), "*")); len(left) > 0 {
			t.Errorf("%s: it left %v", name, left)
		}
	}
}

func TestWrongUsageIsSaidInOneLine(t *testing.T) {
	for name, tc := range map[string]struct {
		epoch string
		args  []string
		want  string
	}{
		"no programs":              {"", []string{"--tag", tag, "--out", "x"}, "which programs?"},
		"nothing to do":            {"", []string{"--tag", tag, "x"}, "--out or --push"},
		"no registry":              {"", []string{"--tag", "rpcpool:v1", "--out", "x", "x"}, "want a full reference"},
		"no tag":                   {"", []string{"--tag", "example.com/rpcpool", "--out", "x", "x"}, "want a full reference"},
		"a label without a name":   {"", []string{"--label", "=x", "--tag", tag, "--out", "x", "x"}, "want NAME=VALUE"},
		"a date that is no number": {"today", []string{"--tag", tag, "--out", "x", "x"}, "SOURCE_DATE_EPOCH"},
		"an unknown flag":          {"", []string{"--colour"}, "colour"},
	} {
		o := image(tc.epoch, tc.args...)
		if o.status != exitUsage || !strings.Contains(o.stderr, tc.want) || strings.Count(o.stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %q, want one line with %q", name, o.status, o.stderr, tc.want)
		}
	}
	if o := image("", "--help"); o.status != exitOK || !strings.Contains(o.stdout, "Example:") {
		t.Errorf("--help: %+v", o)
	}
}
