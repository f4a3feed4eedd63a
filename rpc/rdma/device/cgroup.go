package device

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"rpcpool.dev/internal/cgroup"
)

// memoryMax is the least memory that a control group of this process allows, in bytes; 0:
// there is no limit, or nobody knows of one. Pinned memory is charged as any other, and cannot
// be taken away again.
func (h Host) memoryMax() uint64 {
	least := uint64(0)
	for file := range cgroup.Files(os.DirFS(h.Proc), map[string]string{"": "memory.max", "memory": "memory.limit_in_bytes"}) {
		if limit := number(filepath.Join(h.Sys, file)); limit > 0 && (least == 0 || limit < least) {
			least = limit
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
