// Command python serves a few methods to clients that are written from docs/protocol.md:
// rpcpool.py is one, and play.py calls the server with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"

	"rpcpool.dev/rpc"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9090", "address, HOST:PORT or unix:PATH")
	flag.Parse()
	if err := run(context.Background(), *listen, func(address string) { fmt.Println("python3 examples/python/play.py", address) }); err != nil {
		fmt.Fprintln(os.Stderr, "python:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends; ready is told the address.
func run(ctx context.Context, listen string, ready func(address string)) error {
	s, err := rpc.NewServer(rpc.ServerOptions{Token: guest})
	if err != nil {
		return err
	}
	defer s.Close()
	register(s)
	l, err := s.Listen(ctx, listen)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	ready(l.Addr().String())
	if err := s.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// guest lets everybody in but one.
func guest(token []byte) error {
	if string(token) == "nobody" {
		return errors.New("nobody is not let in")
	}
	return nil
}

// Point is an argument in CBOR: a map with the names of its fields.
type Point struct{ X, Y int }

func register(s *rpc.Server) {
	rpc.Handle(s, "Echo", func(_ context.Context, b []byte) ([]byte, error) { return b, nil })
	rpc.Handle(s, "Mirror", func(_ context.Context, p Point) (Point, error) { return Point{p.Y, p.X}, nil })
	rpc.Handle(s, "Format", func(_ context.Context, p Point) ([]byte, error) { return fmt.Append(nil, p), nil })
	rpc.Handle(s, "Fail", func(_ context.Context, b []byte) ([]byte, error) {
		return nil, rpc.Fail("because", b, "it fails")
	})
	var ran atomic.Int64
	rpc.Handle(s, "Count", func(context.Context, []byte) ([]byte, error) {
		return strconv.AppendInt(nil, ran.Add(1), 10), nil
	})
	rpc.Handle(s, "Wait", await(func(ctx context.Context) error { // for its deadline
		<-ctx.Done()
		return ctx.Err()
	}))
	begun, end := make(chan struct{}), make(chan struct{})
	rpc.Handle(s, "Hold", func(ctx context.Context, _ []byte) ([]byte, error) { // until somebody calls Release
		ran.Add(1)
		select {
		case begun <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		select {
		case <-end:
			return []byte("released"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	rpc.Handle(s, "Begun", await(func(ctx context.Context) error { // returns when a Hold runs
		select {
		case <-begun:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
	rpc.Handle(s, "Release", await(func(ctx context.Context) error {
		select {
		case end <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
	rpc.HandleStream(s, "Repeat", repeat)
}

// await is a handler without arguments and result.
func await(f func(context.Context) error) func(context.Context, []byte) ([]byte, error) {
	return func(ctx context.Context, _ []byte) ([]byte, error) { return nil, f(ctx) }
}

// repeat sends what it is sent, twice.
func repeat(_ context.Context, start []byte, s *rpc.ServerStream[[]byte, []byte]) error {
	for {
		b, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if string(b) == "stop" {
			return rpc.Fail("stopped", nil, "stopped")
		}
		for range 2 {
			if err := s.Send(append(start[:len(start):len(start)], b...)); err != nil {
				return err
			}
		}
	}
}
