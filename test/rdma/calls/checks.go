//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"rpcpool.dev/rpc"
)

// size is that of arguments and results, bytes.
const size = 4 << 20

// check is one.
type check struct {
	check  func(context.Context, *client, *rpc.Client) error
	breaks bool // something in mid-transfer, so bytes may go by TCP
}

// checks are all.
var checks = map[string]check{
	"argument":        {check: argument},
	"result":          {check: result},
	"inout":           {check: inOut},
	"link-down":       {linkDown, true},
	"killed-argument": {killedArgument, true},
	"killed-result":   {killedResult, true},
	"killed-for-good": {killedForGood, true},
	"at-rest":         {check: atRest},
	"quit":            {check: quitServer},
}

// timed does something that moves bytes, says how fast, and whether they went by RDMA.
func (c *client) timed(r *rpc.Client, name string, do func() error) error {
	before, start := r.BlobsMoved(), time.Now()
	if err := do(); err != nil {
		return err
	}
	took := time.Since(start)
	after := r.BlobsMoved()
	moved := after.MoverBytes - before.MoverBytes
	way := "by RDMA"
	switch {
	case c.tcp && moved > 0:
		return fmt.Errorf("%s: %d bytes went by RDMA, none should have gone", name, moved)
	case c.tcp:
		way = "by TCP"
	case moved < size:
		return fmt.Errorf("%s: %d bytes went by RDMA, all should have gone: %v", name, moved, after.Why)
	}
	fmt.Fprintf(c.stdout, "figure %s of 4 MiB, %s: %.1f MiB/s\n", name, way, size/took.Seconds()/(1<<20))
	return nil
}

// compare compares what a worker has seen with what was sent.
func compare(got Seen, sent []byte) error {
	if want := crc32.ChecksumIEEE(sent); got.Sum != want || got.Length != len(sent) {
		return fmt.Errorf("the worker has seen %d bytes with the sum %08x instead of %d with %08x", got.Length, got.Sum, len(sent), want)
	}
	if got.Server != "rpcpool" {
		return fmt.Errorf("who has seen it is a child of %q, and not of the server", got.Server)
	}
	return nil
}

// look has a worker look at bytes.
func (c *client) look(ctx context.Context, r *rpc.Client, sent []byte) error {
	got, err := rpc.Call[Seen](ctx, r, "Look", sent)
	if err != nil {
		return err
	}
	return compare(got, sent)
}

// argument: a long argument of an ordinary method.
func argument(ctx context.Context, c *client, r *rpc.Client) error {
	sent := noise(size, 1)
	return c.timed(r, "argument", func() error { return c.look(ctx, r, sent) })
}

// noisy gets a result.
func (c *client) noisy(ctx context.Context, r *rpc.Client, w Wanted) error {
	got, err := rpc.Call[[]byte](ctx, r, "Noise", w)
	if err == nil && !bytes.Equal(got, noise(w.Length, w.Seed)) {
		err = fmt.Errorf("%d bytes are other ones", len(got))
	}
	return err
}

// result: a long result. That the first one is long nobody knows before.
func result(ctx context.Context, c *client, r *rpc.Client) error {
	if err := c.known(ctx, r); err != nil {
		return err
	}
	return c.timed(r, "result", func() error { return c.noisy(ctx, r, Wanted{Length: size, Seed: 1}) })
}

// known makes long results known as such: the client joins the server's host of blobs.
func (c *client) known(ctx context.Context, r *rpc.Client) error {
	if err := c.noisy(ctx, r, Wanted{Length: size}); err != nil {
		return err
	}
	return c.look(ctx, r, noise(size, 2))
}

// inOut: memory at the server, which the caller writes, a worker changes, and the caller
// reads.
func inOut(ctx context.Context, c *client, r *rpc.Client) (err error) {
	sent := noise(size, 3)
	b, err := r.AllocateBlob(ctx, size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Free()) }()
	err = c.timed(r, "write", func() error {
		_, err := b.WriteAt(sent, 0)
		return err
	})
	if err != nil {
		return err
	}
	seen, err := rpc.Call[Seen](ctx, r, "Invert", Room{Bytes: b.InOut()})
	if err == nil {
		err = compare(seen, sent)
	}
	if err != nil {
		return err
	}
	got := make([]byte, size)
	err = c.timed(r, "read", func() error {
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

// quitServer tells the server to stop. Whoever waits for it sees whether it has ended.
func quitServer(ctx context.Context, _ *client, r *rpc.Client) error {
	_, err := rpc.Call[struct{}](ctx, r, "Quit", struct{}{})
	return err
}
