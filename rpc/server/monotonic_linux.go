package server

import (
	"time"

	"golang.org/x/sys/unix"
)

func machine() (time.Duration, bool) {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0, false
	}
	return time.Duration(t.Nano()), true
}
