// Command accumulate has several nodes write to the same accumulators, and reads what came
// out.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

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
	server, err := accumulator.NewServer(accumulator.ServerOptions{Types: accumulator.Types{"days": accumulator.New[Days]}})
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

	for rank := range ranks { // each of them could be a machine
		if err := work(ctx, address, rank); err != nil {
			return err
		}
	}
	return read(ctx, address, out)
}

// work is what one node does.
func work(ctx context.Context, address string, rank int) error {
	acc, err := remote.Dial(address, accumulator.Options{})
	if err != nil {
		return err
	}
	instances := acc.Sum("instances")
	loss := acc.Avg("loss")
	step := acc.Timer("step", accumulator.Label{Name: "phase", Value: "train"})
	for i := range 1000 {
		instances.Add(int64((i + 1) * (rank + 1)))
		loss.Add(1 / float64(rank+1))
		step.Observe(time.Duration(rank+1) * time.Millisecond)
	}
	acc.Max("slowest").Add(float64(rank))
	days := accumulator.Of[Days](acc.Client, "days", "seen")
	days.Update(func(d *Days) { d.Put(time.Weekday(rank % 3)) })
	return acc.Close(ctx) // the last flush
}

// read prints what all nodes have written together.
func read(ctx context.Context, address string, out io.Writer) error {
	c, err := rpc.Dial(rpc.ClientOptions{}, address)
	if err != nil {
		return err
	}
	defer c.Close()
	var sum accumulator.Sum
	if err := remote.Read(ctx, c, &sum, "instances"); err != nil {
		return err
	}
	fmt.Fprintf(out, "instances: %v\n", &sum)

	var loss accumulator.Avg
	if err := remote.Read(ctx, c, &loss, "loss"); err != nil {
		return err
	}
	mean, _ := loss.Mean()
	fmt.Fprintf(out, "loss: %.4f, of %d values\n", mean, loss.Count())
	return readMore(ctx, c, out)
}

func readMore(ctx context.Context, c rpc.Caller, out io.Writer) error {
	var slowest accumulator.Max
	if err := remote.Read(ctx, c, &slowest, "slowest"); err != nil {
		return err
	}
	rank, _ := slowest.Value()
	fmt.Fprintf(out, "slowest: rank %v\n", rank)

	var step accumulator.Timer
	if err := remote.Read(ctx, c, &step, "step", accumulator.Label{Name: "phase", Value: "train"}); err != nil {
		return err
	}
	fmt.Fprintf(out, "step: %v to %v, %.2f ms in the middle\n", step.Min(), step.Max(), step.Stats(time.Millisecond).Mean)

	var days Days
	if err := remote.Read(ctx, c, &days, "seen"); err != nil {
		return err
	}
	fmt.Fprintf(out, "seen: %v\n", days)
	return nil
}
