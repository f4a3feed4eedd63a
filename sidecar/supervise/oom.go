package supervise

import (
	"os"
	"strconv"
	"strings"
)

// OOMKills returns how many processes the kernel of this machine has killed for
// lack of memory since it started, in all containers; ok is false if it does not
// say (Linux before 4.13, other systems).
func OOMKills() (n uint64, ok bool) {
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0, false
	}
	return ParseCounter(string(b), "oom_kill")
}

// ParseCounter finds a line "key number", as /proc/vmstat and the counters of
// control groups have them.
func ParseCounter(text, key string) (n uint64, ok bool) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[0] == key {
			n, err := strconv.ParseUint(fields[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
