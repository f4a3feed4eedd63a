package shm

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
)

// window is a segment that is mapped, for as long as the host has it.
type window struct {
	bytes   []byte
	guarded bool // what is not held has no access
	held    []span
	gone    bool // the host does not have it any more
}

// windowID tells the two ways apart in which a segment may be mapped.
type windowID struct {
	segment blob.SegmentID
	write   bool
}

// openWindow maps a segment, and closes its descriptor: the map is enough. Memory that
// others own and this process may write is guarded: a stray write to what no call has
// lent ends in SIGSEGV. What can only be read needs no guard, and huge pages are too
// large for one.
func openWindow(fd int, m *message) (*window, error) {
	f := os.NewFile(uintptr(fd), "segment")
	defer func() { _ = f.Close() }()
	if err := checkSegment(fd, m.segmentBytes); err != nil {
		return nil, err
	}
	b, err := mapFile(fd, m.segmentBytes, m.flags&flagWrite != 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnmapped, err)
	}
	w := &window{bytes: b, guarded: m.flags&(flagWrite|flagOwn|flagHuge) == flagWrite}
	if w.guarded {
		if err := unix.Mprotect(b, unix.PROT_NONE); err != nil {
			_ = unix.Munmap(b)
			return nil, fmt.Errorf("%w: guard a segment: %w", ErrUnmapped, err)
		}
	}
	return w, nil
}

// hold gives access to a range.
func (w *window) hold(s span) ([]byte, error) {
	if s.to > uint64(len(w.bytes)) || s.from > s.to {
		return nil, fmt.Errorf("%w: bytes %d to %d of a segment of %d", errMessage, s.from, s.to, len(w.bytes))
	}
	if w.guarded && s.from < s.to {
		p := s.pages(uint64(os.Getpagesize()))
		if err := unix.Mprotect(w.bytes[p.from:min(p.to, uint64(len(w.bytes)))], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return nil, fmt.Errorf("%w: open the guard: %w", ErrUnmapped, err)
		}
	}
	w.held = append(w.held, s)
	return w.bytes[s.from:s.to:s.to], nil
}

// release takes the access to a range back, but for pages that others hold.
func (w *window) release(s span) error {
	i := slices.Index(w.held, s)
	w.held = slices.Delete(w.held, i, i+1)
	if !w.guarded || s.from == s.to {
		return nil
	}
	size := uint64(os.Getpagesize())
	var others []span
	for _, o := range w.held {
		others = append(others, o.pages(size))
	}
	for _, p := range s.pages(size).without(others) {
		if err := unix.Mprotect(w.bytes[p.from:min(p.to, uint64(len(w.bytes)))], unix.PROT_NONE); err != nil {
			return fmt.Errorf("close the guard: %w", err)
		}
	}
	return nil
}

// drop unmaps a window that the host has dropped, when nobody holds anything of it.
func (w *window) drop() (dropped bool) {
	return w.gone && len(w.held) == 0 && unix.Munmap(w.bytes) == nil
}
