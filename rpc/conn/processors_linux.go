package conn

import (
	"bytes"
	"io/fs"
	"math"
	"os"
	"runtime"
	"strconv"
	"sync"

	"rpcpool.dev/internal/cgroup"
)

// allowed is how many processors the process's control groups let it use at a time: read once, because
// it is asked for thousands of times a second. Who changes it starts the program again.
var allowed = sync.OnceValue(func() int { return quota(os.DirFS("/proc"), os.DirFS("/sys")) })

// processors returns how many processors this process has. The runtime's number is at least
// two on a machine with two, also where a quota leaves the process a half of one: who
// looks there is stopped for what is left of the quota's period, with all the others.
func processors() int { return min(runtime.GOMAXPROCS(0), allowed()) }

// quota returns how many whole processors the tightest cpu.max, of the process's control group (version 2)
// and those above, allows; as many as there can be, if none does.
func quota(proc, sys fs.FS) int {
	least := math.MaxInt
	for file := range cgroup.Files(proc, map[string]string{"": "cpu.max"}) {
		limit, _ := fs.ReadFile(sys, file)
		if f := bytes.Fields(limit); len(f) == 2 {
			most, err := strconv.Atoi(string(f[0])) // not "max"
			period, errPeriod := strconv.Atoi(string(f[1]))
			if err == nil && errPeriod == nil && period > 0 {
				least = min(least, most/period)
			}
		}
	}
	return least
}
