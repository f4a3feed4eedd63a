//go:build linux

package image

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// loadOrder returns modules, each after those that it needs. needs tells what a module
// says that it needs.
func loadOrder(wanted []string, needs func(name string) ([]string, error)) ([]string, error) {
	var order []string
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		list, err := needs(name)
		if err != nil {
			return err
		}
		for _, need := range list {
			if err := visit(need); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		order = append(order, name)
		return nil
	}
	for _, name := range wanted {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// findModules returns where the modules below dir are, by name.
func findModules(dir string) (map[string]string, error) {
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			found[moduleName(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find modules: %w", err)
	}
	return found, nil
}

// moduleName is a module's name by that of its file: the kernel knows no hyphens.
func moduleName(file string) string { return strings.ReplaceAll(file, "-", "_") }

// moduleNeeds returns what the module of a file says that it needs.
func moduleNeeds(path string) ([]string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	defer file.Close() //nolint:errcheck // only read
	section := file.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("%s is no module: it has no .modinfo", path)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	return parseNeeds(info), nil
}

// parseNeeds reads what a module says of itself: strings of the form key=value.
func parseNeeds(info []byte) []string {
	var needs []string
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := strings.CutPrefix(string(field), "depends="); ok && list != "" {
			needs = append(needs, strings.Split(moduleName(list), ",")...)
		}
		if list, ok := strings.CutPrefix(string(field), "softdep=pre:"); ok {
			list, _, _ = strings.Cut(list, "post:")
			needs = append(needs, strings.Fields(moduleName(list))...)
		}
	}
	slices.Sort(needs)
	return slices.Compact(needs)
}
