package tracker

import (
	"math"

	"golang.org/x/sys/unix"
)

// descriptors returns how many descriptors the process may have open: the soft
// limit, which Go's runtime has raised to the hard one at the start.
func descriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}
