package shm

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// seals keep a segment as large as it is, so that no access to it ends in SIGBUS, and
// keep others from adding a seal that would stop its use.
const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

const hugePage = 2 << 20

// memory is a segment: anonymous memory with a descriptor. It has no name anywhere, so
// it is gone with the last process that has it.
type memory struct {
	file  *os.File
	bytes []byte // mapped to be read and written
	huge  bool
}

// newMemory makes a segment, of huge pages if that is wanted and there are some.
func newMemory(size uint64, huge bool) (*memory, error) {
	if huge {
		whole := (size + hugePage - 1) / hugePage * hugePage
		m, err := makeMemory(whole, unix.MFD_HUGETLB|unix.MFD_HUGE_2MB)
		if err == nil {
			m.huge = true
		}
		return m, err
	}
	m, err := makeMemory(size, unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // a kernel before 6.3
		m, err = makeMemory(size, 0)
	}
	return m, err
}

func makeMemory(size uint64, flags int) (*memory, error) {
	fd, err := unix.MemfdCreate("rpcpool-blobs", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|flags)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	m := &memory{file: os.NewFile(uintptr(fd), "rpcpool-blobs")}
	if err := m.prepare(fd, int64(size)); err != nil {
		return nil, errors.Join(fmt.Errorf("segment of %d bytes: %w", size, err), m.file.Close())
	}
	return m, nil
}

func (m *memory) prepare(fd int, size int64) error {
	if err := unix.Ftruncate(fd, size); err != nil {
		return fmt.Errorf("set size: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	// Who gets a descriptor to read cannot make one to write of it, by way of /proc,
	// unless it runs as the user who made the segment, or as root.
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	var err error
	if m.bytes, err = mapFile(fd, uint64(size), true); err != nil {
		return err
	}
	return nil
}

// mapFile maps all of a segment. Children of this process do not inherit it: so it is
// unmapped when the process is dead, although children of its may live on.
func mapFile(fd int, size uint64, write bool) ([]byte, error) {
	prot := unix.PROT_READ
	if write {
		prot |= unix.PROT_WRITE
	}
	b, err := unix.Mmap(fd, 0, int(size), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", size, err)
	}
	if err := unix.Madvise(b, unix.MADV_DONTFORK); err != nil {
		return nil, errors.Join(fmt.Errorf("keep the map from children: %w", err), unix.Munmap(b))
	}
	return b, nil
}

// open makes another file of the segment, which is the caller's: one that can only be
// read, or one for all.
func (m *memory) open(write bool) (*os.File, error) {
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", m.file.Fd()), flags, 0)
	if err != nil {
		return nil, fmt.Errorf("open a segment for a peer: %w", err)
	}
	return f, nil
}

// discard gives the memory back, although others may still have it mapped: at once, or if it is of huge
// pages, with the last of these.
func (m *memory) discard() error {
	var err error
	if !m.huge { // a hole in huge pages may not be filled again
		err = unix.Fallocate(int(m.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, int64(len(m.bytes)))
	}
	return errors.Join(err, m.close())
}

// close gives the memory back when the last of the others unmaps it.
func (m *memory) close() error { return errors.Join(unix.Munmap(m.bytes), m.file.Close()) }

// checkSegment refuses a descriptor that could be made shorter while it is mapped.
func checkSegment(fd int, size uint64) error {
	have, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return fmt.Errorf("it is no segment: %w", err)
	}
	if have&unix.F_SEAL_SHRINK == 0 {
		return errors.New("segment is not sealed")
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	if uint64(st.Size) < size {
		return fmt.Errorf("segment of %d bytes, %d were said", st.Size, size)
	}
	return nil
}
