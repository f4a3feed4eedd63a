// Command around has interceptors at both sides of its calls: the client's writes down what has
// failed, by what finds it again at the server; the server's keeps a method from who may not
// call it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"rpcpool.dev/rpc"
)

// logged writes calls that have failed to a log.
func logged(log *slog.Logger) rpc.Interceptor {
	return func(ctx context.Context, method string, next func(context.Context) error) error {
		err := next(ctx)
		var e *rpc.Error
		if errors.As(err, &e) {
			log.Warn("call failed", "method", method, "code", e.Code, "ran", e.Execution, "xid", e.XID, "trace", rpc.TraceFrom(ctx))
		}
		return err
	}
}

// traced begins a trace where there is none.
func traced(ctx context.Context, _ string, next func(context.Context) error) error {
	if rpc.TraceFrom(ctx) == "" {
		ctx = rpc.WithTrace(ctx, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") // of a tracing library
	}
	return next(ctx)
}

// onlyReads lets nobody change anything.
func onlyReads(ctx context.Context, method string, next func(context.Context) error) error {
	if method != "Balance" {
		return rpc.Fail("forbidden", nil, "%s is not for you", method)
	}
	return next(ctx)
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "around:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	s, err := rpc.NewServer(rpc.ServerOptions{Interceptors: []rpc.Interceptor{onlyReads}, Declared: true})
	if err != nil {
		return err
	}
	defer s.Close()
	balance := 100
	rpc.Handle(s, "Balance", func(context.Context, string) (int, error) { return balance, nil }, rpc.MethodOptions{Idempotent: true})
	rpc.Handle(s, "Deduct", func(_ context.Context, n int) (int, error) {
		balance -= n
		return balance, nil
	})
	dir, err := os.MkdirTemp("", "around")
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

	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	c, err := rpc.Dial(rpc.ClientOptions{Interceptors: []rpc.Interceptor{traced, logged(log)}}, address)
	if err != nil {
		return err
	}
	defer c.Close()
	n, err := rpc.Call[int](ctx, c, "Balance", "alice", rpc.Idempotent)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "the balance is", n)
	if _, err := rpc.Call[int](ctx, c, "Deduct", 10); !errors.Is(err, rpc.Reason("forbidden")) {
		return fmt.Errorf("deducted: %w", err)
	}
	if _, err := rpc.Call[int](ctx, c, "Deduct", 10, rpc.Idempotent); !errors.Is(err, rpc.Invalid) {
		return fmt.Errorf("deducted, perhaps twice: %w", err)
	}
	return nil
}
