//go:build !unix

package watchdog

import "time"

func closeDescriptors() {}

func pause(d time.Duration) { time.Sleep(d) }
