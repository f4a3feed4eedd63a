package socket

import "golang.org/x/sys/unix"

// Short is the longest piece, in bytes, that [TryRead] and [TryWrite] are for: they are over before
// anybody can have waited for the processor.
const Short = 64 << 10

// TryRead reads from a descriptor that does not block. Its errors are [unix.Errno], EINTR among them.
func TryRead(fd int, p []byte) (n int, err error) {
	return try(unix.SYS_READ, fd, p)
}

// TryWrite writes to a descriptor that does not block, as TryRead reads.
func TryWrite(fd int, p []byte) (n int, err error) {
	return try(unix.SYS_WRITE, fd, p)
}
