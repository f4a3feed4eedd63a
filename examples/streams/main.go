// Command streams has items that go in both directions while one call lasts: its handler adds
// what it is sent to what it was started with, and says the sum after each.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"rpcpool.dev/rpc"
)

// sum is started with a number, is sent others, and sends what they are together.
func sum(_ context.Context, start int, s *rpc.ServerStream[int, int]) error {
	for {
		n, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil // the client sends no more: so ends the stream
		}
		if err != nil {
			return err // it is broken, or its context has ended
		}
		if n < 0 {
			return rpc.Fail("negative", nil, "%d is negative", n)
		}
		start += n
		if err := s.Send(start); err != nil {
			return err
		}
	}
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "streams:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "streams")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	address := "unix:" + filepath.Join(dir, "socket")

	s, err := rpc.NewServer(rpc.ServerOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	rpc.HandleStream(s, "Sum", sum)
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
	if err := add(ctx, c, out, 1, 2, 3); err != nil {
		return err
	}
	if err := add(ctx, c, out, 1, -2, 3); !errors.Is(err, rpc.Reason("negative")) {
		return fmt.Errorf("a negative number: %w", err)
	}
	fmt.Fprintln(out, "a negative number ends a stream")
	return nil
}

// add sends numbers, and reads a sum after each.
func add(ctx context.Context, c *rpc.Client, out io.Writer, numbers ...int) error {
	st, err := rpc.OpenStream[int, int](ctx, c, "Sum", 100)
	if err != nil {
		return err
	}
	defer st.Close()
	for _, n := range numbers {
		if err := st.Send(ctx, n); err != nil && !errors.Is(err, io.EOF) {
			return err // io.EOF: the handler has returned, and Recv says how
		}
		sum, err := st.Recv(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, sum)
	}
	if err := st.CloseSend(ctx); err != nil {
		return err
	}
	if _, err := st.Recv(ctx); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the last sum: %w", err)
	}
	return st.Close() // nil: the handler has returned nil
}
