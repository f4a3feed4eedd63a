//go:build linux

package image

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// entry is what a test reads out of an archive.
type entry struct{ Name, Mode, Content string }

// unpack reads an archive as the kernel does: by the header's numbers only.
func unpack(t *testing.T, raw []byte) []entry {
	t.Helper()
	var all []entry
	for at := 0; ; {
		const header = 110
		if len(raw)-at < header || string(raw[at:at+6]) != "070701" {
			t.Fatalf("no header at byte %d of %d", at, len(raw))
		}
		field := func(n int) int {
			v, err := strconv.ParseUint(string(raw[at+6+8*n:at+14+8*n]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(v)
		}
		mode, size, nameLength := field(1), field(6), field(11)
		name := string(raw[at+header : at+header+nameLength-1])
		start := (at + header + nameLength + 3) &^ 3
		if name == "TRAILER!!!" {
			if start != len(raw) {
				t.Errorf("%d bytes behind the end", len(raw)-start)
			}
			return all
		}
		all = append(all, entry{name, strconv.FormatInt(int64(mode), 8), string(raw[start : start+size])})
		at = (start + size + 3) &^ 3
	}
}

func TestAnArchiveHasWhatWasAdded(t *testing.T) {
	var out bytes.Buffer
	a := newArchive(&out)
	a.link("usr/lib", "../lib")
	a.file("lib/deep/x.so", 0o755, []byte("12345"))
	a.file("lib/deep/empty", 0o644, nil)
	a.dir("lib")
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{"usr", "40755", ""},
		{"usr/lib", "120777", "../lib"},
		{"lib", "40755", ""},
		{"lib/deep", "40755", ""},
		{"lib/deep/x.so", "100755", "12345"},
		{"lib/deep/empty", "100644", ""},
	}
	if diff := cmp.Diff(want, unpack(t, out.Bytes())); diff != "" {
		t.Error(diff)
	}
}

type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errors.New("no space")
	}
	return len(p), nil
}

func TestAnArchiveRemembersThatTheDiskWasFull(t *testing.T) {
	a := newArchive(&full{left: 4})
	a.file("a", 0o644, []byte("1"))
	a.file("b", 0o644, []byte("2"))
	if err := a.close(); err == nil {
		t.Error("no error")
	}
}

func TestModulesAreLoadedAfterWhatTheyNeed(t *testing.T) {
	needs := map[string][]string{
		"rxe":    {"core", "tunnel", "uverbs"},
		"uverbs": {"core"},
		"core":   nil, "tunnel": nil, "net": {"virtio"}, "virtio": nil,
	}
	lookUp := func(name string) ([]string, error) {
		list, ok := needs[name]
		if !ok {
			return nil, errors.New("no module " + name)
		}
		return list, nil
	}
	order, err := loadOrder([]string{"rxe", "net", "uverbs"}, lookUp)
	if diff := cmp.Diff([]string{"core", "tunnel", "uverbs", "rxe", "virtio", "net"}, order); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	needs["core"] = []string{"lost"}
	if _, err := loadOrder([]string{"rxe"}, lookUp); err == nil || err.Error() != "rxe: core: no module lost" {
		t.Errorf("a module that is not there: %v", err)
	}
	needs["core"] = []string{"rxe"} // no kernel has this; it must not hang
	if _, err := loadOrder([]string{"rxe"}, lookUp); err != nil {
		t.Error(err)
	}
}

func TestWhatAModuleSaysThatItNeeds(t *testing.T) {
	info := "license=GPL\x00depends=ib-core,ib_uverbs\x00softdep=pre: crc32c libcrc post: late\x00depends=\x00"
	if diff := cmp.Diff([]string{"crc32c", "ib_core", "ib_uverbs", "libcrc"}, parseNeeds([]byte(info))); diff != "" {
		t.Error(diff)
	}
}

func TestTheKernelIsCutOutOfItsLoader(t *testing.T) {
	boot := make([]byte, 4096)
	boot[setupSectorsAt] = 2
	copy(boot[magicAt:], "HdrS")
	binary.LittleEndian.PutUint32(boot[payloadAt:], 100)
	binary.LittleEndian.PutUint32(boot[payloadLengthAt:], 5)
	copy(boot[3*sector+100:], "inner")
	got, err := payload(boot)
	if err != nil || string(got) != "inner" {
		t.Errorf("%q, %v", got, err)
	}
	binary.LittleEndian.PutUint32(boot[payloadLengthAt:], 5000)
	if _, err := payload(boot); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("beyond the end: %v", err)
	}
	if _, err := payload(boot[:600]); err == nil {
		t.Error("cut short: no error")
	}
	if _, err := payload(make([]byte, 4096)); err == nil {
		t.Error("something else: no error")
	}
}

func TestTheKernelsPackageHasItsVersionInItsName(t *testing.T) {
	name, err := parseKernel("linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n  Suggests: x\n")
	if err != nil || name != "linux-image-6.1.0-56-amd64" {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := parseKernel("linux-image-amd64\n"); err == nil {
		t.Error("without one: no error")
	}
}

func TestAnImageIsNamedByWhatMakesIt(t *testing.T) {
	const uris = "'http://mirror.example/p/a_1_amd64.deb' a_1_amd64.deb 12 SHA256:aa\n"
	versions, err := parseVersions(uris)
	if err != nil || versions != "a_1_amd64.deb SHA256:aa\n" {
		t.Fatalf("%q, %v", versions, err)
	}
	for _, text := range []string{"", "something else\n"} {
		if _, err := parseVersions(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
	keys := map[string]bool{}
	for _, text := range []string{"package a", "package b"} {
		for _, versions := range []string{versions, strings.Replace(versions, "aa", "ab", 1)} {
			key, err := hash(fstest.MapFS{"x.go": {Data: []byte(text)}}, versions)
			if err != nil {
				t.Fatal(err)
			}
			keys[key] = true
		}
	}
	if len(keys) != 4 {
		t.Errorf("%d names of four images", len(keys))
	}
	embedded, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range embedded {
		if _, err := source.Open(name); err != nil && name != "doc.go" && !strings.HasSuffix(name, "_test.go") {
			t.Errorf("what %s does is not in an image's name", name)
		}
	}
}

func TestADirectoryIsMadeInOneStep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "image")
	broken := errors.New("broken")
	err := inOneStep(dir, func(scratch string) error {
		return errors.Join(broken, os.WriteFile(filepath.Join(scratch, "half"), nil, 0o600))
	})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	if left, _ := filepath.Glob(dir + "*"); len(left) != 0 {
		t.Errorf("left over: %q", left)
	}
	err = inOneStep(dir, func(scratch string) error { return os.WriteFile(filepath.Join(scratch, "whole"), nil, 0o600) })
	if _, failure := os.Stat(filepath.Join(dir, "whole")); err != nil || failure != nil {
		t.Error(err, failure)
	}
}

func TestLibrariesAreFoundWithWhatTheyNeed(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	needs, err := imports(self)
	if err != nil {
		t.Fatal(err)
	}
	if len(needs) == 0 {
		t.Skip("this test is linked statically")
	}
	if _, err := tree(t.TempDir()).libraries([]string{self}); err == nil || !strings.Contains(err.Error(), "no package has the library") {
		t.Errorf("in an empty tree: %v", err)
	}
	found, err := tree("/").libraries([]string{self})
	if err != nil || len(found) < len(needs) {
		t.Errorf("%q of %q, %v", found, needs, err)
	}
}

func TestWhatAProgramSaysOfAnErrorIsInTheError(t *testing.T) {
	_, err := run(aptGet(context.Background(), "no-such-command"))
	if err == nil || !strings.Contains(err.Error(), "no-such-command") {
		t.Error(err)
	}
}
