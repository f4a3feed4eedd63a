package cgroup

import (
	"strconv"
	"strings"
)

// Counter finds a line "key number", as the counters of control groups have them, and
// /proc/vmstat for the whole machine.
func Counter(text, key string) (n uint64, ok bool) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[0] == key {
			n, err := strconv.ParseUint(fields[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
