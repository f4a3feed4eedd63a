package main

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Properties of components, for what CycloneDX has no field for.
const (
	propertyDigest  = "rpcpool:oci:digest"   // the image's manifest's
	propertyModule  = "rpcpool:go:module"    // a program's main module
	propertyVersion = "rpcpool:go:toolchain" // go1.26.0
	propertySum     = "rpcpool:go:h1"        // a module's checksum, as in go.sum
	propertyBuild   = "rpcpool:go:build:"    // and the setting: GOARCH, vcs.revision …
)

// billSpec is the version of CycloneDX that is written: a newer one is not read by
// all scanners yet.
const billSpec = cyclonedx.SpecVersion1_6

// writeBill writes what is in an image of that digest: its programs, and the modules
// that they were built from. It says nothing that the programs do not say, and
// nothing of when it was written.
func writeBill(w io.Writer, tag name.Tag, digest v1.Hash, binaries []binary) error {
	encoder := cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false)
	if err := encoder.EncodeVersion(newBill(tag, digest, binaries), billSpec); err != nil {
		return fmt.Errorf("bill of materials: %w", err)
	}
	return nil
}

func newBill(tag name.Tag, digest v1.Hash, binaries []binary) *cyclonedx.BOM {
	image := imageComponent(tag, digest)
	components := make(map[string]cyclonedx.Component)
	needs := map[string][]string{image.BOMRef: {}}
	for _, b := range binaries {
		program := programComponent(b)
		components[program.BOMRef] = program
		needs[image.BOMRef] = append(needs[image.BOMRef], program.BOMRef)
		needs[program.BOMRef] = []string{}
		for _, part := range parts(b) {
			components[part.BOMRef] = part
			needs[program.BOMRef] = append(needs[program.BOMRef], part.BOMRef)
		}
	}
	bill := cyclonedx.NewBOM()
	bill.SerialNumber = serialNumber(tag, digest)
	bill.Metadata = &cyclonedx.Metadata{Component: &image}
	sorted := slices.SortedFunc(maps.Values(components), func(a, b cyclonedx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	bill.Components = &sorted
	var dependencies []cyclonedx.Dependency
	for _, ref := range slices.Sorted(maps.Keys(needs)) {
		slices.Sort(needs[ref])
		on := needs[ref]
		dependencies = append(dependencies, cyclonedx.Dependency{Ref: ref, Dependencies: &on})
	}
	bill.Dependencies = &dependencies
	return bill
}

// serialNumber is a UUID (version 8: of our own making) of what the bill is about.
func serialNumber(tag name.Tag, digest v1.Hash) string {
	id := sha256.Sum256([]byte(tag.String() + "@" + digest.String()))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}

func imageComponent(tag name.Tag, digest v1.Hash) cyclonedx.Component {
	repository := tag.Repository.String()
	purl := fmt.Sprintf("pkg:oci/%s@%s?repository_url=%s&tag=%s",
		path.Base(repository), strings.Replace(digest.String(), ":", "%3A", 1), repository, tag.TagStr())
	return cyclonedx.Component{
		BOMRef:     purl,
		Type:       cyclonedx.ComponentTypeContainer,
		Name:       repository,
		Version:    tag.TagStr(),
		PackageURL: purl,
		Properties: properties(propertyDigest, digest.String()),
	}
}

// programComponent is a program as a file of the image.
func programComponent(b binary) cyclonedx.Component {
	list := []string{propertyModule, b.info.Main.Path, propertyVersion, b.info.GoVersion}
	for _, key := range []string{"GOOS", "GOARCH", "CGO_ENABLED", "-tags", "-ldflags", "vcs.revision", "vcs.modified"} {
		if value := b.setting(key); value != "" {
			list = append(list, propertyBuild+key, value)
		}
	}
	return cyclonedx.Component{
		BOMRef:     "file:/" + binDir + b.name,
		Type:       cyclonedx.ComponentTypeApplication,
		Name:       b.name,
		Version:    b.info.Main.Version,
		Hashes:     &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: b.sha256()}},
		Properties: properties(list...),
	}
}

// parts are what a program was built from: the standard library, its main module and
// the others.
func parts(b binary) []cyclonedx.Component {
	all := []cyclonedx.Component{
		library("stdlib", b.info.GoVersion, strings.TrimPrefix(b.info.GoVersion, "go"), ""),
		moduleComponent(&b.info.Main),
	}
	for _, dependency := range b.info.Deps {
		all = append(all, moduleComponent(dependency))
	}
	return all
}

// moduleComponent is a module, or what it was replaced by. One that was replaced by
// a directory is what it was required as: the directory has no version.
func moduleComponent(m *debug.Module) cyclonedx.Component {
	if m.Replace != nil && m.Replace.Version != "" {
		m = m.Replace
	}
	return library(m.Path, m.Version, m.Version, m.Sum)
}

func library(module, version, purlVersion, sum string) cyclonedx.Component {
	purl := "pkg:golang/" + module
	if purlVersion != "" && purlVersion != "(devel)" {
		purl += "@" + strings.ReplaceAll(purlVersion, "+", "%2B")
	}
	c := cyclonedx.Component{
		BOMRef:     purl,
		Type:       cyclonedx.ComponentTypeLibrary,
		Name:       module,
		Version:    version,
		PackageURL: purl,
	}
	if sum != "" {
		c.Properties = properties(propertySum, sum)
	}
	return c
}

// properties takes names and values in turn.
func properties(list ...string) *[]cyclonedx.Property {
	var all []cyclonedx.Property
	for pair := range slices.Chunk(list, 2) {
		all = append(all, cyclonedx.Property{Name: pair[0], Value: pair[1]})
	}
	return &all
}
