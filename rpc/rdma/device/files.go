package device

import (
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// maxText is the length of a file in sysfs at most, in bytes: a page.
const maxText = 4096

// text is the first line of a file; empty if it cannot be read, as those of
// entries that are not in use cannot.
func text(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxText))
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}

// entries are the names in a directory, sorted; none if it cannot be read.
func entries(dir string) []string {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Name()
	}
	return names
}

// numbers are the names in a directory that are numbers, sorted as such.
func numbers(dir string) []int {
	var out []int
	for _, name := range entries(dir) {
		if n, err := strconv.Atoi(name); err == nil && n >= 0 {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}
