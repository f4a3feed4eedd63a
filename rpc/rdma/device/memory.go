package device

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Lockable tells why this process may not pin so many bytes of memory in all; nil: it may.
func Lockable(bytes uint64) error {
	if l := (Host{}).withDefaults().locked(bytes); !l.enough() {
		return errors.New(l.String())
	}
	return nil
}

// locked finds out how much memory this process may pin.
func (h Host) locked(bytes uint64) (l locked) {
	l.wanted, l.group = bytes, h.memoryMax()
	effective, err := h.effective()
	if err != nil {
		return locked{err: err}
	}
	l.capable = effective&(1<<unix.CAP_IPC_LOCK) != 0
	if l.limit, l.err = h.Memlock(); l.err != nil {
		return l
	}
	if l.refusal = h.Lock(bytes); errors.Is(l.refusal, errors.ErrUnsupported) {
		l.refusal = nil
		if !l.capable && l.limit < bytes {
			l.refusal = unix.ENOMEM
		}
	}
	return l
}

// effective is the process's set of effective capabilities.
func (h Host) effective() (uint64, error) {
	f, err := os.Open(filepath.Join(h.Proc, "self/status"))
	if err != nil {
		return 0, err //nolint:wrapcheck // names the file
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if set, ok := strings.CutPrefix(lines.Text(), "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(set), 16, 64) //nolint:wrapcheck // quotes the text
		}
	}
	return 0, fmt.Errorf("%s has no CapEff", f.Name())
}

func memlock() (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return 0, fmt.Errorf("getrlimit: %w", err)
	}
	return limit.Cur, nil
}

// lockable locks so much of an empty mapping, whose pages are never touched: the
// kernel checks its rule, which is that for pinned memory, too, and needs no memory.
// What CapEff says is no proof: in a user namespace of its own a process has
// capabilities that count for nothing here.
func lockable(bytes uint64) error {
	mapping, err := unix.Mmap(-1, 0, int(bytes), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	defer func() { _ = unix.Munmap(mapping) }()                                                                            // which unlocks it
	_, _, errno := unix.Syscall(unix.SYS_MLOCK2, uintptr(unsafe.Pointer(&mapping[0])), uintptr(bytes), unix.MLOCK_ONFAULT) //nolint:gosec // the address is not kept
	if errno != 0 {
		return errno
	}
	return nil
}
