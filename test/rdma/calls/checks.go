//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"rpcpool.dev/rpc"
)

// size is that of arguments and results, bytes.
const size = 4 << 20

// checks are all.
var checks = map[string]func(context.Context, *client) error{
	"argument": argument,
	"result":   result,
	"inout":    inOut,
}

// client is what makes calls.
type client struct {
	*rpc.Client
	mover  *counting
	moves  bool // bytes must go by RDMA; that none do the server sees
	stdout io.Writer
}

// check makes one check, and prints how it went.
func (c *client) check(ctx context.Context, name string) error {
	do, known := checks[name]
	if !known {
		return fmt.Errorf("there is no check %q", name)
	}
	start := time.Now()
	err := do(ctx, c)
	verdict := "PASS"
	if err != nil {
		verdict = "FAIL"
		fmt.Fprintf(c.stdout, "%s: %v\n", name, err)
	}
	fmt.Fprintf(c.stdout, "--- %s: %s (%.2fs)\n", verdict, name, time.Since(start).Seconds())
	return err
}

// timed does something that moves bytes, says how fast, and whether they went by RDMA.
func (c *client) timed(name string, do func() error) error {
	before, start := c.mover.moved.Load(), time.Now()
	if err := do(); err != nil {
		return err
	}
	took := time.Since(start)
	moved := c.mover.moved.Load() - before
	way := "by RDMA"
	if !c.moves {
		way = "by TCP"
	}
	if c.moves && moved < size {
		return fmt.Errorf("%s: %d bytes went by RDMA, all should have gone", name, moved)
	}
	fmt.Fprintf(c.stdout, "figure %s of 4 MiB, %s: %.1f MiB/s\n", name, way, size/took.Seconds()/(1<<20))
	return nil
}

// compare compares what a worker has seen with what was sent.
func compare(got Seen, sent []byte) error {
	if want := crc32.ChecksumIEEE(sent); got.Sum != want || got.Length != len(sent) {
		return fmt.Errorf("the worker has seen %d bytes with the sum %08x instead of %d with %08x", got.Length, got.Sum, len(sent), want)
	}
	if got.Worker == got.Server || got.Worker == os.Getpid() {
		return fmt.Errorf("process %d has seen it, which is not the server's worker", got.Worker)
	}
	return nil
}

// argument: a long argument of an ordinary method.
func argument(ctx context.Context, c *client) error {
	sent := noise(size, 1)
	return c.timed("argument", func() error {
		got, err := rpc.Call[Seen](ctx, c.Client, "Look", sent)
		if err != nil {
			return err
		}
		return compare(got, sent)
	})
}

// result: a long result. That the first one is long nobody knows before.
func result(ctx context.Context, c *client) error {
	for seed := range uint32(2) {
		call := func() error {
			got, err := rpc.Call[[]byte](ctx, c.Client, "Noise", Wanted{Length: size, Seed: seed})
			if err == nil && !bytes.Equal(got, noise(size, seed)) {
				err = fmt.Errorf("%d bytes are other ones", len(got))
			}
			return err
		}
		if seed == 0 {
			if err := call(); err != nil {
				return err
			}
			continue
		}
		if err := c.timed("result", call); err != nil {
			return err
		}
	}
	return nil
}

// inOut: memory at the server, which the caller writes, a worker changes, and the caller
// reads.
func inOut(ctx context.Context, c *client) error {
	sent := noise(size, 3)
	b, err := c.AllocateBlob(ctx, size)
	if err != nil {
		return err
	}
	defer b.Free() //nolint:errcheck // the client is closed soon
	err = c.timed("write", func() error {
		_, err := b.WriteAt(sent, 0)
		return err
	})
	if err != nil {
		return err
	}
	seen, err := rpc.Call[Seen](ctx, c.Client, "Invert", Room{Bytes: b.InOut()})
	if err == nil {
		err = compare(seen, sent)
	}
	if err != nil {
		return err
	}
	got := make([]byte, size)
	err = c.timed("read", func() error {
		_, err := b.ReadAt(got, 0)
		return err
	})
	if err != nil {
		return err
	}
	for i := range got {
		if got[i] != ^sent[i] {
			return fmt.Errorf("byte %d is %#x instead of %#x", i, got[i], ^sent[i])
		}
	}
	return nil
}
