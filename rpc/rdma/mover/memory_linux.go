package mover

import (
	"fmt"
	"syscall"
)

// newMemory makes memory that is not Go's: nobody uses it again before it is freed. It is shared, so that pages which
// are pinned stay this process's when it forks.
func newMemory(size int) ([]byte, error) {
	b, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED|syscall.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", size, err)
	}
	return b, nil
}

func freeMemory(b []byte) error {
	if err := syscall.Munmap(b); err != nil {
		return fmt.Errorf("unmap %d bytes: %w", len(b), err)
	}
	return nil
}
