package agent

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// removeTree removes name in the directory parent with all that is in it. It
// follows no symbolic link, opens up directories that deny access to their
// owner, and needs the same few descriptors and no stack however deep the tree
// is: a directory that is not empty is moved up into parent, beside name, and
// emptied there.
func removeTree(parent int, name string) error {
	r := remover{parent: parent, name: name}
	if err := r.entry(parent, name); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	for len(r.moved) > 0 {
		last := r.moved[len(r.moved)-1]
		r.moved = r.moved[:len(r.moved)-1]
		if err := r.empty(last); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		if err := unix.Unlinkat(parent, last, unix.AT_REMOVEDIR); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

// movedMark stands between a work directory's name and the number of a
// directory moved out of it. No worker's id has it.
const movedMark = "~"

type remover struct {
	parent int
	name   string
	moved  []string // directories in parent that are to be emptied
	serial int
}

// entry removes name in dir, or moves it to parent if it is a directory that is
// not empty.
func (r *remover) entry(dir int, name string) error {
	err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOTDIR) {
		err = unix.Unlinkat(dir, name, 0)
	}
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%q: %w", name, err)
	}
	// It is a directory, so chmod follows no link here. Only one who may write
	// to a directory may move it.
	if err := unix.Fchmodat(dir, name, 0o700, 0); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	for {
		r.serial++
		target := r.name + movedMark + strconv.Itoa(r.serial)
		err := unix.Renameat(dir, name, r.parent, target)
		switch {
		case err == nil:
			r.moved = append(r.moved, target)
			return nil
		case !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST):
			return fmt.Errorf("%q: %w", name, err)
		}
	}
}

// empty empties a directory in parent.
func (r *remover) empty(name string) error {
	fd, err := unix.Openat(r.parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close() //nolint:errcheck // opened for reading
	const batch = 512
	for {
		// From the start each time: entries vanish under the reader's feet.
		if _, err := dir.Seek(0, 0); err != nil {
			return err //nolint:wrapcheck // says what and where
		}
		names, _ := dir.Readdirnames(batch)
		if len(names) == 0 {
			return nil
		}
		for _, entry := range names {
			if err := r.entry(fd, entry); err != nil {
				return err
			}
		}
	}
}
