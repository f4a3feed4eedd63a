// Package hack has no code of its own: its tests hold the files that build,
// ship and document the project to each other.
package hack

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func read(t *testing.T, name string) string {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// instructions returns a Dockerfile's instructions, continued lines joined.
func instructions(text string) []string {
	text = regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`\\\n\s*`).ReplaceAllString(text, "")
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// TestDockerfile: no container engine is at hand where the tests run, so what
// matters is read out of the file: the last stage is scratch, takes exactly
// what `make build` makes, and does not run as root.
func TestDockerfile(t *testing.T) {
	lines := instructions(read(t, "Dockerfile"))
	known := regexp.MustCompile(`^(FROM|ARG|WORKDIR|COPY|RUN|LABEL|ENV|USER|ENTRYPOINT|CMD) \S`)
	last := 0
	for i, line := range lines {
		if !known.MatchString(line) {
			t.Errorf("not an instruction: %q", line)
		}
		if strings.HasPrefix(line, "FROM ") {
			last = i
		}
	}
	build, final := strings.Join(lines[:last], "\n"), lines[last:]
	want := []string{"FROM scratch", "COPY --from=build /rootfs/ /", "USER 65532:65532", `ENTRYPOINT ["rpcpool"]`, "ENV PATH=/usr/local/bin"}
	for _, line := range want {
		if !slices.Contains(final, line) {
			t.Errorf("the last stage lacks %q: %q", line, final)
		}
	}
	if !strings.Contains(build, "make build BIN=/rootfs/usr/local/bin ") {
		t.Errorf("the build stage does not run make build into the image's PATH:\n%s", build)
	}
	module := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if module == nil || !strings.Contains(build, "golang:"+module[1]+" AS build") {
		t.Errorf("the build stage does not have the Go of go.mod (%v)", module)
	}
}

// TestDockerfileOfTheRDMAVariant: it is the same image, but for what RDMA needs: programs
// that cgo has linked to the C library of the same Debian, and rdma-core's libraries.
func TestDockerfileOfTheRDMAVariant(t *testing.T) {
	stages := func(name string) (build, final []string) {
		lines := instructions(read(t, name))
		last := 0
		for i, line := range lines {
			if strings.HasPrefix(line, "FROM ") {
				last = i
			}
		}
		return lines[:last], lines[last:]
	}
	_, plain := stages("Dockerfile")
	build, final := stages("Dockerfile.rdma")
	for _, line := range plain[1:] {
		if line = strings.Replace(line, "clients\"", "clients, with RDMA\"", 1); !slices.Contains(final, line) {
			t.Errorf("the last stage lacks %q: %q", line, final)
		}
	}
	module := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	from := regexp.MustCompile(`^FROM golang:(\S+)-(\w+) AS build$`).FindStringSubmatch(build[0])
	if from == nil || from[1] != module[1] || final[0] != "FROM debian:"+from[2]+"-slim" {
		t.Errorf("not the Go of go.mod (%v) on the Debian of the last stage: %q, %q", module, build[0], final[0])
	}
	if !strings.Contains(strings.Join(build, "\n"), "make build-rdma BIN=/rootfs/usr/local/bin ") {
		t.Errorf("the build stage does not run make build-rdma into the image's PATH: %q", build)
	}
	if !strings.Contains(final[1], " libibverbs1 ibverbs-providers ") {
		t.Errorf("no libraries: %q", final[1])
	}
}

// TestBothImagesAreBuiltOfTheirDockerfiles, and the one with RDMA has the name that the
// documentation gives it.
func TestBothImagesAreBuiltOfTheirDockerfiles(t *testing.T) {
	const image = "registry.example.com/rpcpool:v0.1.0"
	cmd := exec.Command("make", "--dry-run", "--no-print-directory", "docker-build", "docker-build-rdma",
		"CONTAINER_TOOL=tool", "VERSION=v0.1.0", "IMG="+image)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := "tool build --build-arg VERSION=v0.1.0 -t " + image + " .\n" +
		"tool build --build-arg VERSION=v0.1.0 -f Dockerfile.rdma -t " + image + "-rdma .\n"
	if string(out) != want {
		t.Errorf("got:\n%swant:\n%s", out, want)
	}
	for file, line := range map[string]string{
		"docs/kubernetes.md":         "--set sidecar.image=" + image + "-rdma\n",
		"charts/rpcpool/values.yaml": "(rpcpool:v0.1.0-rdma)",
		"Dockerfile.rdma":            "docker build -f Dockerfile.rdma --build-arg VERSION=v0.1.0 -t rpcpool:v0.1.0-rdma .\n",
	} {
		if !strings.Contains(read(t, file), line) {
			t.Errorf("%s lacks %q", file, line)
		}
	}
}

// TestTheImagesBuildHasAllItNeeds: .dockerignore leaves out nothing that the programs are
// made of, which may be embedded files, and nothing that `make build-rdma` runs.
func TestTheImagesBuildHasAllItNeeds(t *testing.T) {
	var ignored []*regexp.Regexp
	for line := range strings.Lines(read(t, ".dockerignore")) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(line), `\*\*/`, `(.*/)?`)
		ignored = append(ignored, regexp.MustCompile(`^`+strings.ReplaceAll(pattern, `\*`, `[^/]*`)+`(/|$)`))
	}
	const files = `{{range .GoFiles}}{{$.Dir}}/{{.}}
{{end}}{{range .CgoFiles}}{{$.Dir}}/{{.}}
{{end}}{{range .CFiles}}{{$.Dir}}/{{.}}
{{end}}{{range .HFiles}}{{$.Dir}}/{{.}}
{{end}}{{range .EmbedFiles}}{{$.Dir}}/{{.}}
{{end}}`
	cmd := exec.Command("go", "list", "-deps", "-tags", "rdma", "-f", "{{if and .Module .Module.Main}}"+files+"{{end}}", "./cmd/...")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	needed := append(strings.Fields(strings.ReplaceAll(string(out), root+"/", "")), "go.mod", "go.sum", "Makefile", "hack/need.sh")
	for _, name := range []string{"cmd/rpcpool/main.go", "rpc/rdma/verbs/shim_linux.c", "rpc/rdma/verbs/shim.h", "config/crd/bases/rpcpool.dev_rpcpools.yaml"} {
		if !slices.Contains(needed, name) {
			t.Errorf("%s is not among the %d files of the programs", name, len(needed))
		}
	}
	for _, name := range needed {
		for _, pattern := range ignored {
			if pattern.MatchString(name) {
				t.Errorf(".dockerignore leaves out %s (%s)", name, pattern)
			}
		}
	}
}

// TestOnlyWhatUsesRDMAIsLinkedToTheCLibrary: agent and workers run in containers of any image.
func TestOnlyWhatUsesRDMAIsLinkedToTheCLibrary(t *testing.T) {
	cmd := exec.Command("make", "--dry-run", "--no-print-directory", "build-rdma", "BIN=x")
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	loops := regexp.MustCompile(`for program in ([^;]*);[^\n]*\n[^\n]*\n\s*CGO_ENABLED=(\d) go build -tags '([^']*)'`).FindAllStringSubmatch(string(out), -1)
	if len(loops) != 2 {
		t.Fatalf("no two loops over programs in:\n%s", out)
	}
	if loops[0][2] != "0" || strings.Contains(loops[0][3], "rdma") {
		t.Errorf("first: %q", loops[0])
	}
	if loops[1][1] != "rpcpool sidecar" || loops[1][2] != "1" || !slices.Contains(strings.Fields(loops[1][3]), "rdma") {
		t.Errorf("then: %q", loops[1])
	}
}

// TestEveryProgramIsBuiltStatically: `make build` builds each directory of cmd/.
func TestEveryProgramIsBuiltStatically(t *testing.T) {
	cmd := exec.Command("make", "--dry-run", "--no-print-directory", "build", "BIN=x")
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "CGO_ENABLED=0 go build") {
		t.Errorf("not static:\n%s", out)
	}
	dirs, err := filepath.Glob("../cmd/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no programs: %v", err)
	}
	loop := regexp.MustCompile(`for program in ([^;]*);`).FindStringSubmatch(string(out))
	if loop == nil {
		t.Fatalf("no loop over programs in:\n%s", out)
	}
	for _, dir := range dirs {
		if !slices.Contains(strings.Fields(loop[1]), filepath.Base(dir)) {
			t.Errorf("%s is not built", dir)
		}
	}
}

// TestReadmeIsTrue: the commands that README names are there, and the targets of make that
// any page names. Links are TestLinksOfPagesLeadSomewhere's.
func TestReadmeIsTrue(t *testing.T) {
	readme, makefile, ci := read(t, "README.md"), read(t, "Makefile"), read(t, ".ci/run")
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, name := range append(pages, "../README.md", "../charts/rpcpool/README.md") {
		text := read(t, strings.TrimPrefix(name, "../"))
		for _, m := range regexp.MustCompile("(?m)(?:^|`)make ([a-z][\\w-]*)").FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(m[1]) + `:`).MatchString(makefile) {
				t.Errorf("%s says make %s; the Makefile has no such target", name, m[1])
			}
		}
	}
	if module := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod")); module == nil || !strings.Contains(readme, "Go ("+module[1]+" or later)") {
		t.Errorf("README does not say that it takes the Go of go.mod (%v)", module)
	}
	for _, command := range []string{"make test", "make demo"} {
		if !strings.Contains(readme, "\n"+command+"\n") || !strings.Contains(ci, command) {
			t.Errorf("%q is not in README and .ci/run alike", command)
		}
	}
}

// TestReadmesFiguresAreThoseOfTheBenchmarks: each row of README is one of docs/benchmarks.md.
func TestReadmesFiguresAreThoseOfTheBenchmarks(t *testing.T) {
	cells := func(line string) []string {
		all := strings.Split(strings.Trim(line, "| \n"), " | ")
		for i := range all {
			all[i] = strings.TrimSpace(all[i])
		}
		return all
	}
	measured := map[string][]string{} // by scenario and figure: p50, p99, p99.9, floor
	for line := range strings.Lines(read(t, "docs/benchmarks.md")) {
		if c := cells(line); len(c) >= 6 {
			measured[c[0]+": "+c[1]] = c[2:6]
		}
	}
	_, table, _ := strings.Cut(read(t, "README.md"), "| figure | p50 | floor |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	sources := []string{
		"grant: REQUEST → grant, device free",
		"stock: tracker, REQUEST → grant, stock client",
		"cycles: cycles, 200 servers, 64 clients",
		"idle: memory of the tracker for each of 10,000 servers",
		"session: grant → first call answered, warm spare",
		"isolation: crashing call sent → next client's first call answered, warm",
		"isolation: killed and told after the deadline, endless loop, every core busy, warm",
	}
	rows := strings.Split(table, "\n")
	if len(rows) != len(sources) {
		t.Fatalf("README has %d figures, want %d:\n%s", len(rows), len(sources), table)
	}
	for i, source := range sources {
		row, m := cells(rows[i]), measured[source]
		if len(m) != 4 || len(row) != 3 {
			t.Errorf("%q is %q in README, %q in docs/benchmarks.md", source, row, m)
			continue
		}
		value, p99, tail := strings.Cut(row[1], " (p99 ")
		floor, _, _ := strings.Cut(row[2], " (")
		if value != m[0] || floor != m[3] || tail && p99 != m[1]+")" {
			t.Errorf("README: %q; docs/benchmarks.md: %q", row, m)
		}
	}
}

// TestEveryKindOfTestHasToPass: each of the Makefile's is in .ci/run.
func TestEveryKindOfTestHasToPass(t *testing.T) {
	ci := read(t, ".ci/run")
	for _, m := range regexp.MustCompile(`(?m)^(test[\w-]*):`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		if !strings.Contains(ci, "step make "+m[1]+"\n") {
			t.Errorf("make %s is not in .ci/run", m[1])
		}
	}
}

// profile is a coverage profile of four packages, with a block twice.
const profile = `mode: atomic
rpcpool.dev/tvm/a.go:1.1,2.2 9 1
rpcpool.dev/tvm/a.go:3.1,4.2 1 0
rpcpool.dev/tracker/b.go:1.1,2.2 5 0
rpcpool.dev/tracker/b.go:1.1,2.2 5 7
rpcpool.dev/rpc/journal/d.go:1.1,2.2 1 1
rpcpool.dev/sidecar/supervise/c.go:1.1,2.2 8 1
rpcpool.dev/sidecar/supervise/c.go:3.1,2.2 2 HITS
`

func TestCoverageGate(t *testing.T) {
	gate := func(text string) (string, error) {
		file := filepath.Join(t.TempDir(), "profile")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("./coverage.sh", file).CombinedOutput()
		return string(out), err
	}
	out, err := gate(strings.Replace(profile, "HITS", "3", 1))
	if err != nil {
		t.Errorf("refused: %v\n%s", err, out)
	}
	for _, want := range []string{"tvm                                  10     90.0%   85%", "tracker                               5    100.0%", "sidecar/supervise                    10    100.0%"} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
	out, err = gate(strings.Replace(profile, "HITS", "0", 1))
	if err == nil || !strings.Contains(out, "80.0%   85%  BELOW") {
		t.Errorf("a package below its bar passed: %v\n%s", err, out)
	}
	out, err = gate(strings.ReplaceAll(profile, "/tracker/", "/other/"))
	if err == nil || !strings.Contains(out, "no coverage of tracker") {
		t.Errorf("a package that is not there passed: %v\n%s", err, out)
	}
}

func TestNeed(t *testing.T) {
	if out, err := exec.Command("./need.sh", "bash", "bash").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v, %s", err, out)
	}
	// Without apt-get nothing can be installed, whoever asks.
	cmd := exec.Command("/bin/bash", "./need.sh", "no-such-program", "some-package")
	dir := t.TempDir()
	if err := os.Symlink("/usr/bin/id", filepath.Join(dir, "id")); err != nil {
		t.Fatal(err)
	}
	cmd.Env = []string{"PATH=" + dir}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no-such-program is missing. Install it, on Debian or Ubuntu by: sudo apt-get install some-package") {
		t.Errorf("%v, %s", err, out)
	}
}

// TestNeedTellsOfServices that a package has brought along and systemd has started.
func TestNeedTellsOfServices(t *testing.T) {
	dir := t.TempDir()
	for name, script := range map[string]string{
		"id":        "echo 0",
		"apt-get":   "exit 0",
		"systemctl": `[ "$*" = "is-active --quiet daemon" ]`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/bin/bash", "./need.sh", "no-such-program", "library", "daemon")
	cmd.Env = []string{"PATH=" + dir}
	want := "installing library daemon for no-such-program\n" +
		"the service daemon runs now, which nothing here needs: systemctl disable --now daemon\n"
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
		t.Errorf("%v, %s", err, out)
	}
}
