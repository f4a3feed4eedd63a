package device

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memoryMax is the least memory that a control group of this process allows, in bytes; 0:
// there is no limit, or nobody knows of one. Pinned memory is charged as any other, and cannot
// be taken away again.
func (h Host) memoryMax() uint64 {
	groups, err := os.ReadFile(filepath.Join(h.Proc, "self/cgroup"))
	if err != nil {
		return 0
	}
	least := uint64(0)
	for line := range strings.Lines(string(groups)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		root, file := "fs/cgroup", "memory.max"
		switch controllers {
		case "": // version 2
		case "memory":
			root, file = "fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for at := filepath.Clean("/" + path); ; at = filepath.Dir(at) {
			if limit := number(filepath.Join(h.Sys, root, at, file)); limit > 0 && (least == 0 || limit < least) {
				least = limit
			}
			if at == "/" {
				break
			}
		}
	}
	return least
}

// number reads a file that has one; 0: it has none.
func number(file string) uint64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
