package agent

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Bounds of what a walk keeps in memory, whatever a program piles up.
const (
	maxDepth     = 1 << 16 // of directories; what is deeper is over any limit
	maxHardLinks = 1 << 16 // that are told apart
)

// batchEntries is after how many entries a walk looks at the clock.
const batchEntries = 64

// walk measures what directories take up on the disk: allocated blocks, a file
// with several names once. It follows no symbolic link and stays in the file
// system. It needs few descriptors and next to no memory, however deep or wide
// the tree is, and may be misled by what changes meanwhile; the next walk is not.
type walk struct {
	limit int64       // it stops when it has found more
	rest  func() bool // called every now and then; false ends the walk

	total   int64
	deep    bool // it met a tree that is too deep
	entries int
	links   map[uint64]struct{}
	device  uint64
	buf     [16 << 10]byte
}

// level is a directory to which the walk returns.
type level struct {
	inode  uint64
	offset int64 // of the entry after that which it went down by
}

// over tells whether the limit is passed.
func (w *walk) over() bool { return w.deep || w.total > w.limit }

// dir adds a directory, by its descriptor, which stays the caller's and is not
// read from. ok is false if rest has ended the walk.
func (w *walk) dir(fd int) (ok bool) {
	var self unix.Stat_t
	at, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return true // not for us to read; or gone
	}
	defer func() { _ = unix.Close(at) }()
	if unix.Fstat(at, &self) != nil {
		return true
	}
	if w.links == nil || w.device != self.Dev {
		w.device, w.links = self.Dev, map[uint64]struct{}{}
	}
	w.total += self.Blocks * blockSize
	var above []level
	for {
		child, offset, ok := w.scan(at)
		switch {
		case !ok:
			return false
		case w.over():
			closeFD(child)
			return true
		case child >= 0:
			above = append(above, level{self.Ino, offset})
			_ = unix.Close(at)
			at = child
			if unix.Fstat(at, &self) != nil {
				return true
			}
			w.deep = len(above) > maxDepth
		case len(above) == 0:
			return true
		default:
			last := above[len(above)-1]
			above = above[:len(above)-1]
			if at, self.Ino, err = w.up(at, last); err != nil {
				return true // it was moved from under our feet
			}
		}
	}
}

// up returns to the directory above.
func (w *walk) up(at int, to level) (parent int, inode uint64, err error) {
	parent, err = unix.Openat(at, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return at, 0, fmt.Errorf("go up: %w", err)
	}
	_ = unix.Close(at)
	var s unix.Stat_t
	if err := unix.Fstat(parent, &s); err != nil {
		return parent, 0, fmt.Errorf("go up: %w", err)
	}
	if s.Ino != to.inode || s.Dev != w.device {
		return parent, 0, fmt.Errorf("go up: %w", unix.EXDEV)
	}
	_, err = unix.Seek(parent, to.offset, 0)
	return parent, s.Ino, err //nolint:wrapcheck // only whether matters
}

// scan adds the entries of a directory until it has opened one below, which it
// returns with where to go on, or until there are no more; then child is -1.
func (w *walk) scan(at int) (child int, offset int64, ok bool) {
	for {
		n, err := unix.Getdents(at, w.buf[:])
		if err != nil || n <= 0 {
			return -1, 0, true
		}
		for rest := w.buf[:n]; len(rest) > 0; {
			var e dirent
			if e, rest = nextDirent(rest); e.name == "." || e.name == ".." {
				continue
			}
			if w.entries++; w.entries%batchEntries == 0 && !w.rest() {
				return -1, 0, false
			}
			if child := w.add(at, e.name); child >= 0 {
				return child, e.next, true
			}
			if w.over() {
				return -1, 0, true
			}
		}
	}
}

// blockSize is the unit of Stat_t.Blocks, whatever the file system's own is.
const blockSize = 512

// add adds an entry, and opens it if it is a directory.
func (w *walk) add(at int, name string) (child int) {
	var s unix.Stat_t
	if unix.Fstatat(at, name, &s, unix.AT_SYMLINK_NOFOLLOW) != nil || s.Dev != w.device {
		return -1
	}
	size := s.Blocks * blockSize
	if s.Mode&unix.S_IFMT == unix.S_IFDIR {
		w.total += size
		child, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1
		}
		return child
	}
	if s.Nlink > 1 {
		_, known := w.links[s.Ino]
		switch {
		case known:
			return -1
		case len(w.links) < maxHardLinks:
			w.links[s.Ino] = struct{}{}
		default:
			size /= int64(s.Nlink) // a share for each name
		}
	}
	w.total += size
	return -1
}
