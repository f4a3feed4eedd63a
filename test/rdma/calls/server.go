//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/blob/local"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/rdma"
)

// serve serves calls in a worker process until ctx ends, and then says how bytes went. It
// fails if any went by RDMA that should not have, or none that should.
func serve(ctx context.Context, at string, adapter *rdma.Adapter, m *counting, moves bool, log *slog.Logger, stdout io.Writer) (err error) {
	defer func() { err = errors.Join(err, adapter.Close()) }() // when nobody uses it any more
	host, err := local.New(local.Options{
		Options: shm.Options{Logger: log, LetGo: m.LetGo},
		Far:     remote.ServerOptions{Mover: m, Log: log},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	s, err := rpc.NewServer(rpc.ServerOptions{
		Isolate: &rpc.Isolate{Output: stdout, Spares: -1}, Blobs: rpc.BlobOptions{Host: host}, Log: log,
	})
	if err != nil {
		return err
	}
	methods(s)
	listener, err := s.Listen(ctx, at)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	moved := host.Moved()
	fmt.Fprintf(stdout, "transfers: %d by RDMA, %d by TCP, which could have gone by RDMA: %v\n", moved.Mover, moved.Conn, moved.Why)
	if moves != (moved.Mover > 0) {
		err = errors.Join(err, fmt.Errorf("%d transfers went by RDMA", moved.Mover))
	}
	return errors.Join(err, s.Close())
}

// work is what its worker process does.
func work(ctx context.Context) error {
	s, err := rpc.NewServer(rpc.ServerOptions{Isolate: &rpc.Isolate{}})
	if err != nil {
		return err
	}
	methods(s)
	return errors.Join(s.Work(ctx), s.Close())
}
