package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// load reads an archive as a Docker archive.
func load(t *testing.T, path string) v1.Image {
	t.Helper()
	reference, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tarball.ImageFromPath(path, &reference)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func config(t *testing.T, image v1.Image) *v1.ConfigFile {
	t.Helper()
	c, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dockerfile reads what the last stage of the project's Dockerfile says of the image.
func dockerfile(t *testing.T, version string) v1.Config {
	t.Helper()
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(string(text), "")
	c := v1.Config{WorkingDir: "/", Labels: map[string]string{}}
	for line := range strings.Lines(lines[strings.LastIndex(lines, "\nFROM "):]) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch instruction {
		case "ENV":
			c.Env = append(c.Env, rest)
		case "USER":
			c.User = rest
		case "ENTRYPOINT":
			err = json.Unmarshal([]byte(rest), &c.Entrypoint)
		case "CMD":
			err = json.Unmarshal([]byte(rest), &c.Cmd)
		case "LABEL":
			for _, m := range regexp.MustCompile(`(\S+)="([^"]*)"`).FindAllStringSubmatch(rest, -1) {
				c.Labels[m[1]] = strings.ReplaceAll(m[2], "${VERSION}", version)
			}
		case "", "FROM", "ARG", "COPY":
		default:
			t.Errorf("the Dockerfile has an instruction that this program does not know: %s", line)
		}
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	return c
}

func TestTheImageIsWhatTheDockerfileMakes(t *testing.T) {
	out := filepath.Join(t.TempDir(), "image.tar")
	made(t, "", append([]string{"--tag", tag, "--out", out}, programs(t, "rpcpool-agent", "rpcpool")...)...)
	image := load(t, out)
	if diff := cmp.Diff(dockerfile(t, "v0.1.0"), config(t, image).Config); diff != "" {
		t.Errorf("configuration:\n%s", diff)
	}
	if c := config(t, image); c.Architecture != runtime.GOARCH || c.OS != "linux" || !c.Created.Equal(time.Unix(0, 0)) {
		t.Errorf("platform %s/%s, created %s", c.OS, c.Architecture, c.Created)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	names, headers, contents := files(t, content)
	// The Dockerfile's build stage: make build BIN=/rootfs/usr/local/bin, install -d -m 1777 /rootfs/tmp
	want := map[string]int64{"tmp/": 0o1777, "usr/": 0o755, "usr/local/": 0o755, "usr/local/bin/": 0o755, "usr/local/bin/rpcpool": 0o755, "usr/local/bin/rpcpool-agent": 0o755}
	modes := make(map[string]int64)
	program, err := genuine()
	if err != nil {
		t.Fatal(err)
	}
	for name, header := range headers {
		modes[name] = header.Mode
		if header.Uid != 0 || header.Gid != 0 || !header.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s is %d:%d's, of %s", name, header.Uid, header.Gid, header.ModTime)
		}
		if header.Typeflag == tar.TypeReg && !bytes.Equal(contents[name], program) {
			t.Errorf("%s is not the program", name)
		}
	}
	if diff := cmp.Diff(want, modes); diff != "" || !slices.IsSorted(names) {
		t.Errorf("files %v:\n%s", names, diff)
	}
}

func TestFlagsAreInsteadOfTheDefaults(t *testing.T) {
	out := filepath.Join(t.TempDir(), "image.tar")
	made(t, "1700000000", append([]string{"--tag", tag, "--out", out, "--entrypoint", "tool run", "--cmd", "", "--user", "0:0",
		"--label", "org.opencontainers.image.title=tool", "--label", "a=b=c"}, programs(t, "tool")...)...)
	c := config(t, load(t, out))
	want := v1.Config{User: "0:0", Env: []string{"PATH=/usr/local/bin"}, Entrypoint: []string{"tool", "run"}, WorkingDir: "/", Labels: map[string]string{
		"a":                                    "b=c",
		"org.opencontainers.image.title":       "tool",
		"org.opencontainers.image.version":     "v0.1.0",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.description": "Pools of fault-isolated RPC servers for Apache TVM clients",
	}}
	if diff := cmp.Diff(want, c.Config); diff != "" {
		t.Error(diff)
	}
	if !c.Created.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("created %s", c.Created)
	}
}

// TestBothKindsOfReadersGetTheSameImage: `docker load` goes by manifest.json,
// containerd by index.json.
func TestBothKindsOfReadersGetTheSameImage(t *testing.T) {
	out := filepath.Join(t.TempDir(), "image.tar")
	reference := made(t, "", append([]string{"--tag", tag, "--out", out}, programs(t, "rpcpool")...)...)
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	_, headers, contents := files(t, f)
	for name, header := range headers {
		path := filepath.Join(dir, name)
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			err = os.MkdirAll(filepath.Dir(path), 0o755)
			writeProgram(t, path, contents[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("%+v, %v", manifest, err)
	}
	entry := manifest.Manifests[0]
	if got := entry.Annotations["io.containerd.image.name"]; got != tag {
		t.Errorf("containerd would call it %q", got)
	}
	if got := tag + "@" + entry.Digest.String(); got != reference {
		t.Errorf("%s was printed, the archive has %s", reference, got)
	}
	oci, err := index.Image(entry.Digest)
	if err != nil {
		t.Fatal(err)
	}
	docker := load(t, out)
	for kind, image := range map[string]v1.Image{"OCI": oci, "Docker": docker} {
		if err := validate.Image(image); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if diff := cmp.Diff(config(t, oci), config(t, docker)); diff != "" {
		t.Error(diff)
	}
}

func TestTheSameProgramsGiveTheSameBytes(t *testing.T) {
	dir := t.TempDir()
	build := func(epoch string, paths []string) (string, []byte, []byte) {
		out, bill := filepath.Join(dir, "image.tar"), filepath.Join(dir, "bill.json")
		reference := made(t, epoch, append([]string{"--tag", tag, "--out", out, "--sbom", bill}, paths...)...)
		archive, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(bill)
		if err != nil {
			t.Fatal(err)
		}
		return reference, archive, text
	}
	first := programs(t, "rpcpool", "rpcpool-agent")
	reference, archive, bill := build("", first)

	// Elsewhere, in another order, at another time, with other modes.
	again := programs(t, "rpcpool-agent", "rpcpool")
	for i, path := range again {
		if err := os.Chtimes(path, time.Time{}, time.Unix(1e9+int64(i), 0)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o555); err != nil {
			t.Fatal(err)
		}
	}
	reference2, archive2, bill2 := build("", again)
	if reference != reference2 || !bytes.Equal(archive, archive2) || !bytes.Equal(bill, bill2) {
		t.Errorf("%s and %s; archives alike: %t; bills alike: %t", reference, reference2, bytes.Equal(archive, archive2), bytes.Equal(bill, bill2))
	}

	if later, _, _ := build("1700000000", first); later == reference {
		t.Error("another time gives the same image")
	}
	writeProgram(t, first[1], changed(t, "no such", "no sUch"))
	if different, _, _ := build("", first); different == reference {
		t.Error("other programs give the same image")
	}
}
