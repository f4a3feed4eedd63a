// Command deadlines shows what a caller sees whose patience ends: whether its call ran depends on
// where that was then.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"rpcpool.dev/rpc"
)

// patience of the callers.
const patience = time.Second

// heed works until its caller has gone.
func heed(ctx context.Context, _ string) (string, error) {
	select {
	case <-time.After(time.Hour):
		return "done", nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "deadlines:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	s, err := rpc.NewServer(rpc.ServerOptions{Limit: 1}) // one call runs, others wait
	if err != nil {
		return err
	}
	defer s.Close()
	over := make(chan struct{})
	defer close(over)
	rpc.Handle(s, "Heed", heed)
	rpc.Handle(s, "Ignore", func(context.Context, string) (string, error) {
		<-over
		return "done", nil
	})
	dir, err := os.MkdirTemp("", "deadlines")
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

	for _, method := range []string{"Heed", "Ignore", "Heed"} { // the last waits behind Ignore, which still runs
		if err := call(ctx, c, method, out); err != nil {
			return err
		}
	}
	return nil
}

// call calls a method that takes longer than its caller waits.
func call(ctx context.Context, c *rpc.Client, method string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := rpc.Call[string](ctx, c, method, "")
	switch {
	case !errors.Is(err, rpc.DeadlineExceeded): // or context.DeadlineExceeded, which is the same here
		return fmt.Errorf("%s: %w", method, err)
	case errors.Is(err, rpc.NotExecuted):
		fmt.Fprintln(out, method, "has not run, and never will")
	case errors.Is(err, rpc.Executed):
		fmt.Fprintln(out, method, "ran, and has heeded the deadline")
	case errors.Is(err, rpc.Indeterminate):
		fmt.Fprintln(out, method, "has perhaps run, or still does")
	}
	return nil
}
