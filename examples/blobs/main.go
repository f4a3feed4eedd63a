// Command blobs lets a function in another process write into a buffer of its caller, as
// snprintf does: both have it in memory, and nothing is copied on the way.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"rpcpool.dev/rpc"
)

// Args are those of snprintf.
type Args struct {
	Buffer rpc.BlobArg
	Size   int
	Format string
	Value  int
}

// snprintf writes to memory that its caller has allocated, and returns how many bytes.
func snprintf(_ context.Context, a Args) (int, error) {
	return copy(a.Buffer.Bytes()[:a.Size], fmt.Sprintf(a.Format, a.Value)), nil
}

// count has an argument like any other: whether it came in a message or in memory that it shares
// with its caller, it does not see.
func count(_ context.Context, text []byte) (int, error) {
	lines := 0
	for _, c := range text {
		if c == '\n' {
			lines++
		}
	}
	return lines, nil
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "blobs:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	s, err := rpc.NewServer(rpc.ServerOptions{Isolate: &rpc.Isolate{Output: io.Discard}})
	if err != nil {
		return err
	}
	defer s.Close()
	rpc.Handle(s, "Snprintf", snprintf)
	rpc.Handle(s, "Count", count)
	if rpc.IsWorker() {
		return s.Work(ctx)
	}

	dir, err := os.MkdirTemp("", "blobs")
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
	if err := answer(ctx, c, out); err != nil {
		return err
	}
	return lines(ctx, c, out)
}

func answer(ctx context.Context, c *rpc.Client, out io.Writer) error {
	buffer, err := c.AllocateBlob(ctx, 64)
	if err != nil {
		return err
	}
	defer func() { _ = buffer.Free() }()
	n, err := rpc.Call[int](ctx, c, "Snprintf", Args{buffer.InOut(), buffer.Sizeof(), "The answer is %d", 42})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, string(buffer.Bytes()[:n]))
	return nil
}

func lines(ctx context.Context, c *rpc.Client, out io.Writer) error {
	text := make([]byte, 1<<20)
	for i := range text {
		if text[i] = 'x'; i%64 == 63 {
			text[i] = '\n'
		}
	}
	n, err := rpc.Call[int](ctx, c, "Count", text)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, n, "lines")
	return nil
}
