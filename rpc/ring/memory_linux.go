package ring

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// seals keep the memory as large as it is: an access to what is not there would be a fault.
const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// Memory is what both processes have, mapped.
type Memory struct {
	b     []byte
	maker bool
}

// New makes memory, and a file by which another process can have it, for the caller to close.
func New() (*Memory, *os.File, error) {
	fd, err := unix.MemfdCreate("rpcpool-channel", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // a kernel before 6.3
		fd, err = unix.MemfdCreate("rpcpool-channel", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("memory of a channel: memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "memory of a channel")
	if err = unix.Fallocate(fd, 0, 0, length); err == nil { // now, or never: where memory is short an access would be a fault later
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	var m *Memory
	if err == nil {
		m, err = mapped(f)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("memory of a channel: %w", err), f.Close())
	}
	m.maker = true
	return m, f, nil
}

// Map maps memory that another process has made, and closes its file.
func Map(f *os.File) (*Memory, error) {
	defer f.Close() //nolint:errcheck // the mapping keeps the memory
	var st unix.Stat_t
	has, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err == nil {
		err = unix.Fstat(int(f.Fd()), &st)
	}
	if err != nil || has&(unix.F_SEAL_SHRINK|unix.F_SEAL_GROW) != unix.F_SEAL_SHRINK|unix.F_SEAL_GROW || st.Size != length {
		return nil, errors.Join(fmt.Errorf("%w: no sealed memory of %d bytes", ErrPeer, length), err)
	}
	return mapped(f)
}

// mapped maps it. Children do not inherit it: when this process is dead, nobody has it any more.
func mapped(f *os.File) (*Memory, error) {
	b, err := unix.Mmap(int(f.Fd()), 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	_ = unix.Madvise(b, unix.MADV_DONTFORK)
	return &Memory{b: b}, nil
}

// Close unmaps memory that no connection has.
func (m *Memory) Close() error { return os.NewSyscallError("munmap", unix.Munmap(m.b)) }
