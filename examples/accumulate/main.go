// Command accumulate has several nodes write to one accumulator, and reads the sum.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/accumulator"
	"rpcpool.dev/rpc/accumulator/remote"
)

func main() {
	if err := run(context.Background(), 4, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "accumulate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, ranks int, out io.Writer) error {
	s, err := rpc.NewServer(rpc.ServerOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	server, err := accumulator.NewServer(accumulator.ServerOptions{})
	if err != nil {
		return err
	}
	remote.Register(s, server)
	dir, err := os.MkdirTemp("", "accumulate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	address := "unix:" + filepath.Join(dir, "socket")
	l, err := s.Listen(ctx, address)
	if err != nil {
		return err
	}
	go func() { _ = s.Serve(l) }()

	c, err := rpc.Dial(rpc.ClientOptions{}, address)
	if err != nil {
		return err
	}
	defer c.Close()
	for rank := range ranks { // each of them could be a machine
		acc := accumulator.NewClient(remote.Pusher{Caller: c}, accumulator.Options{})
		for i := range 1000 {
			acc.Sum("instances").Add(int64((i + 1) * (rank + 1)))
		}
		if err := acc.Close(ctx); err != nil {
			return err
		}
	}
	var sum accumulator.Sum
	if err := remote.Read(ctx, c, &sum, "instances"); err != nil {
		return err
	}
	fmt.Fprintf(out, "instances: %v\n", &sum)
	return nil
}
