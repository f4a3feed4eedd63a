package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
)

// bill reads what was written for the programs.
func bill(t *testing.T, paths []string) (reference string, decoded cyclonedx.BOM) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "bill.json")
	reference = made(t, "", append([]string{"--tag", tag, "--out", filepath.Join(dir, "image.tar"), "--sbom", file}, paths...)...)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := cyclonedx.NewBOMDecoder(f, cyclonedx.BOMFileFormatJSON).Decode(&decoded); err != nil {
		t.Fatal(err)
	}
	return reference, decoded
}

func property(c cyclonedx.Component, name string) string {
	if c.Properties == nil {
		return ""
	}
	for _, p := range *c.Properties {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// goVersion is what `go version -m` says of a program: its toolchain, and its modules
// with version and checksum.
func goVersion(t *testing.T, path string) (toolchain string, modules []string) {
	t.Helper()
	out, err := exec.Command("go", "version", "-m", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(string(out), "\n")
	for line := range strings.Lines(rest) {
		if fields := strings.Fields(line); fields[0] == "dep" || fields[0] == "mod" {
			modules = append(modules, strings.Join(fields[1:], " "))
		}
	}
	slices.Sort(modules)
	return strings.Fields(first)[1], modules
}

func TestTheBillHasEveryModuleThatGoSaysIsInThePrograms(t *testing.T) {
	paths := programs(t, "rpcpool", "rpcpool-agent")
	reference, decoded := bill(t, paths)
	toolchain, want := goVersion(t, paths[0])
	if len(want) < 5 {
		t.Fatalf("the program has but %q", want)
	}
	var got []string
	for _, c := range *decoded.Components {
		if c.Type != cyclonedx.ComponentTypeLibrary || c.Name == "stdlib" {
			continue
		}
		got = append(got, strings.TrimSpace(c.Name+" "+c.Version+" "+property(c, propertySum)))
		if purl := "pkg:golang/" + c.Name + "@" + strings.ReplaceAll(c.Version, "+", "%2B"); c.PackageURL != purl && c.Version != "(devel)" {
			t.Errorf("%s has the purl %s", c.Name, c.PackageURL)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modules:\n%s", diff)
	}

	content, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(content))
	var names []string
	for _, c := range *decoded.Components {
		switch {
		case c.Name == "stdlib" && (c.Version != toolchain || c.PackageURL != "pkg:golang/stdlib@"+strings.TrimPrefix(toolchain, "go")):
			t.Errorf("standard library %+v, toolchain %s", c, toolchain)
		case c.Type == cyclonedx.ComponentTypeApplication:
			names = append(names, c.Name)
			if (*c.Hashes)[0].Value != sum || property(c, propertyVersion) != toolchain || property(c, propertyBuild+"CGO_ENABLED") != "0" {
				t.Errorf("program %+v", c)
			}
		}
	}
	if diff := cmp.Diff([]string{"rpcpool", "rpcpool-agent"}, names); diff != "" {
		t.Errorf("programs:\n%s", diff)
	}
	if image := decoded.Metadata.Component; reference != image.Name+":"+image.Version+"@"+property(*image, propertyDigest) {
		t.Errorf("it is about %s:%s@%s, and the image is %s", image.Name, image.Version, property(*image, propertyDigest), reference)
	}
}

func TestTheBillIsOneGraph(t *testing.T) {
	_, decoded := bill(t, programs(t, "rpcpool"))
	if decoded.SpecVersion != billSpec || decoded.Metadata.Timestamp != "" ||
		!regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(decoded.SerialNumber) {
		t.Errorf("version %s, serial number %s, time %q", decoded.SpecVersion, decoded.SerialNumber, decoded.Metadata.Timestamp)
	}
	edges := make(map[string][]string)
	for _, d := range *decoded.Dependencies {
		edges[d.Ref] = nil
		if d.Dependencies != nil {
			edges[d.Ref] = *d.Dependencies
		}
	}
	reached := make(map[string]bool)
	var visit func(string)
	visit = func(ref string) {
		if !reached[ref] {
			reached[ref] = true
			for _, next := range edges[ref] {
				visit(next)
			}
		}
	}
	visit(decoded.Metadata.Component.BOMRef)
	for _, c := range *decoded.Components {
		if !reached[c.BOMRef] {
			t.Errorf("%s is in the bill, and nothing needs it", c.BOMRef)
		}
		delete(reached, c.BOMRef)
	}
	delete(reached, decoded.Metadata.Component.BOMRef)
	if len(reached) > 0 {
		t.Errorf("needed, and not in the bill: %v", reached)
	}
}

func TestAReplacedModuleIsWhatItWasReplacedBy(t *testing.T) {
	for name, tc := range map[string]struct {
		module debug.Module
		want   string
	}{
		"none":        {debug.Module{Path: "a.b/c", Version: "v1.0.0+x", Sum: "h1:x"}, "pkg:golang/a.b/c@v1.0.0%2Bx h1:x"},
		"a fork":      {debug.Module{Path: "a.b/c", Version: "v1.0.0", Replace: &debug.Module{Path: "d.e/f", Version: "v2.0.0", Sum: "h1:y"}}, "pkg:golang/d.e/f@v2.0.0 h1:y"},
		"a directory": {debug.Module{Path: "a.b/c", Version: "v1.0.0", Replace: &debug.Module{Path: "../.."}}, "pkg:golang/a.b/c@v1.0.0 "},
		"this module": {debug.Module{Path: "a.b/c", Version: "(devel)"}, "pkg:golang/a.b/c "},
	} {
		c := moduleComponent(&tc.module)
		if got := c.PackageURL + " " + property(c, propertySum); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
