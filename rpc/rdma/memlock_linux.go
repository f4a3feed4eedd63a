package rdma

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func readLocked() (locked, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return locked{}, fmt.Errorf("getrlimit: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // 32 capabilities each
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return locked{}, fmt.Errorf("capget: %w", err)
	}
	return locked{limit: limit.Cur, capable: sets[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0}, nil
}
