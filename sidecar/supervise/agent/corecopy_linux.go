package agent

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copyDump copies a dump from another file system, holes and all: most of a dump
// can be holes.
func copyDump(to *os.File, dir int, name string) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err //nolint:wrapcheck // by the caller, as below
	}
	from := os.NewFile(uintptr(fd), name)
	defer from.Close() //nolint:errcheck // opened for reading
	info, err := from.Stat()
	if err != nil {
		return err //nolint:wrapcheck // by the caller
	}
	for at := int64(0); at < info.Size(); {
		begin, end := dataAfter(from, at, info.Size())
		if err := copyRange(to, from, begin, end-begin); err != nil {
			return err
		}
		at = end
	}
	return to.Truncate(info.Size()) //nolint:wrapcheck // by the caller
}

// dataAfter finds the next stretch of data in a file; where the file system
// cannot tell, everything is data.
func dataAfter(f *os.File, at, size int64) (begin, end int64) {
	begin, err := f.Seek(at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size // a hole to the end
	}
	if err != nil {
		return at, size
	}
	if end, err = f.Seek(begin, unix.SEEK_HOLE); err != nil {
		return begin, size
	}
	return begin, min(end, size)
}

func copyRange(to, from *os.File, at, n int64) error {
	if _, err := from.Seek(at, io.SeekStart); err != nil {
		return err //nolint:wrapcheck // by the caller, as below
	}
	if _, err := to.Seek(at, io.SeekStart); err != nil {
		return err //nolint:wrapcheck // by the caller
	}
	_, err := io.CopyN(to, from, n)
	return err //nolint:wrapcheck // by the caller
}
