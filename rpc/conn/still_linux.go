package conn

import (
	"time"

	"golang.org/x/sys/unix"
)

// elapsedHere is how long this machine is up. Unlike the runtime's clock it goes on while the machine sleeps.
func elapsedHere() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // there is one
	return time.Duration(t.Nano())
}
