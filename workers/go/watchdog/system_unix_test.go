//go:build unix

package watchdog

import (
	"time"

	"golang.org/x/sys/unix"
)

// closeDescriptors closes all but the standard ones, as a careless library does
// before it starts a child.
func closeDescriptors() {
	for fd := 3; fd < 256; fd++ {
		_ = unix.Close(fd)
	}
}

// pause waits in poll(2).
func pause(d time.Duration) { _, _ = unix.Poll(nil, int(d.Milliseconds())) }
