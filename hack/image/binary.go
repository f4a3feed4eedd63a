package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// binary is a program, and what it says of itself.
type binary struct {
	path    string
	name    string // in the image
	content []byte // read once, so that all that is said of it is about the same
	info    *buildinfo.BuildInfo
}

// readBinaries reads programs that can be in one image: static ones, with names of
// their own, for one platform, which is the image's.
func readBinaries(paths []string) ([]binary, v1.Platform, error) {
	var platform v1.Platform
	binaries := make([]binary, 0, len(paths))
	for _, path := range paths {
		b, err := readBinary(path)
		if err != nil {
			return nil, platform, err
		}
		for _, other := range binaries {
			if other.name == b.name {
				return nil, platform, fmt.Errorf("%s and %s have the same name, and go to the same directory", other.path, b.path)
			}
		}
		mine := v1.Platform{OS: b.setting("GOOS"), Architecture: b.setting("GOARCH")}
		switch {
		case mine.OS != "linux":
			return nil, platform, fmt.Errorf("%s is for %s; the programs of an image are for linux", path, mine)
		case len(binaries) == 0:
			platform = mine
		case mine.String() != platform.String():
			return nil, platform, fmt.Errorf("%s is for %s, %s for %s; an image is of one platform", binaries[0].path, platform, path, mine)
		}
		binaries = append(binaries, b)
	}
	return binaries, platform, nil
}

func readBinary(path string) (binary, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return binary{}, err //nolint:wrapcheck // names the file
	}
	if err := checkStatic(content); err != nil {
		return binary{}, fmt.Errorf("%s: %w", path, err)
	}
	info, err := buildinfo.Read(bytes.NewReader(content))
	if err != nil {
		return binary{}, fmt.Errorf("%s: not a Go program, or one without build information: %w", path, err)
	}
	return binary{path: path, name: filepath.Base(path), content: content, info: info}, nil
}

// sha256 is the digest of the program's file, in hexadecimal.
func (b binary) sha256() string { return fmt.Sprintf("%x", sha256.Sum256(b.content)) }

// setting is one of those the program was built with, such as GOARCH.
func (b binary) setting(key string) string {
	for _, s := range b.info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// checkStatic fails if a program needs an interpreter or libraries, which the
// image does not have.
func checkStatic(program []byte) error {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return fmt.Errorf("not a program for Linux: %w", err)
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("not a program for Linux: %w", err)
	}
	isInterpreter := func(segment *elf.Prog) bool { return segment.Type == elf.PT_INTERP }
	if len(libraries) > 0 || slices.ContainsFunc(f.Progs, isInterpreter) {
		return errors.New("dynamically linked, and the image has no libraries: build it with CGO_ENABLED=0")
	}
	return nil
}
