//go:build linux

package image

import (
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// libraries returns the files that programs load when they start: what they say that
// they need, and what that needs in turn, found in a tree of packages.
func (t tree) libraries(programs []string) ([]string, error) {
	found := map[string]string{}
	for queue := slices.Clone(programs); len(queue) > 0; queue = queue[1:] {
		needs, err := imports(queue[0])
		if err != nil {
			return nil, err
		}
		for _, need := range needs {
			if found[need] != "" {
				continue
			}
			path, err := t.library(need)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", queue[0], err)
			}
			found[need] = path
			queue = append(queue, path)
		}
	}
	return slices.Sorted(maps.Values(found)), nil
}

func imports(path string) ([]string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("libraries of %s: %w", path, err)
	}
	defer file.Close() //nolint:errcheck // only read
	needs, err := file.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("libraries of %s: %w", path, err)
	}
	return needs, nil
}

// tree is where packages have been unpacked.
type tree string

// libraryDirs are where a program looks for libraries, in a tree and in the image.
var libraryDirs = []string{"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64"}

func (t tree) library(name string) (string, error) {
	for _, dir := range libraryDirs {
		path := filepath.Join(string(t), dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no package has the library %s", name)
}

// one returns the only file of a pattern.
func (t tree) one(pattern string) (string, error) {
	found, err := filepath.Glob(filepath.Join(string(t), pattern))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("want one file %s in the packages, found %q", pattern, found)
	}
	return found[0], nil
}
