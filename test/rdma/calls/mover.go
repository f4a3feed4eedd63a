//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/rdma"
	"rpcpool.dev/rpc/rdma/mover"
	"rpcpool.dev/rpc/rdma/verbs"
	"rpcpool.dev/test/rdma/gid"
)

// open opens the device of an address. Machines that are emulated on a busy one stand
// still for longer than a network would be silent: a second passes until a peer counts
// as gone.
func open(device string, address netip.Addr) (*rdma.Adapter, error) {
	const timeout, retries = 16, 3
	return rdma.Open(rdma.Options{
		Device: device, Timeout: timeout, Retries: retries,
		Locate: func() (rdma.Place, error) {
			index, err := gid.Find(gid.Sysfs, device, address)
			return rdma.Place{Port: 1, Index: index, GID: verbs.GID(address.As16())}, err
		},
	})
}

// dropPrivileges makes this process one that may lock 64 KiB.
func dropPrivileges() error {
	const nobody, little = 65534, 64 << 10
	limit := unix.Rlimit{Cur: little, Max: little}
	if err := errors.Join(unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit), unix.Setgid(nobody), unix.Setuid(nobody)); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	return os.Setenv("HOME", "/")
}

// counting is a mover that counts the bytes that its side has moved, or has let the other
// side move.
type counting struct {
	*mover.Mover
	moved atomic.Uint64
}

func (c *counting) Line() (remote.Line, error) {
	l, err := c.Mover.Line()
	if err != nil {
		return nil, err
	}
	return &countingLine{l, c}, nil
}

type countingLine struct {
	remote.Line
	all *counting
}

// Describe counts when the other side needs the bytes no more. If it has failed to get
// them, so has the transfer.
func (l *countingLine) Describe(m remote.Memory) (where []byte, over func(), err error) {
	where, done, err := l.Line.Describe(m)
	return where, func() {
		l.all.moved.Add(uint64(len(m.Bytes)))
		done()
	}, err
}

func (l *countingLine) Pull(ctx context.Context, m remote.Memory, where []byte) error {
	err := l.Line.Pull(ctx, m, where)
	if err == nil {
		l.all.moved.Add(uint64(len(m.Bytes)))
	}
	return err
}
