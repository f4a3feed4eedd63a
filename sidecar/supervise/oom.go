package supervise

import (
	"os"

	"rpcpool.dev/internal/cgroup"
)

// OOMKills returns how many processes the kernel of this machine has killed for
// lack of memory since it started, in all containers; ok is false if it does not
// say (Linux before 4.13, other systems).
func OOMKills() (n uint64, ok bool) {
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0, false
	}
	return cgroup.Counter(string(b), "oom_kill")
}
