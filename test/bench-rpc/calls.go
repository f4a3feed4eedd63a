package main

import (
	"context"
	"net"
	"os"
	"path/filepath"

	"rpcpool.dev/rpc"
)

// serveCalls serves calls that run at most once.
func serveCalls(inline, journalled bool) func(net.Listener) error {
	return func(l net.Listener) error {
		var opts rpc.ServerOptions
		if journalled {
			dir, err := os.MkdirTemp("", "bench-rpc")
			if err != nil {
				return err
			}
			defer func() { _ = os.RemoveAll(dir) }()
			opts.Journal = filepath.Join(dir, "journal")
		}
		s, err := rpc.NewServer(opts)
		if err != nil {
			return err
		}
		rpc.Handle(s, "Echo", func(_ context.Context, in []byte) ([]byte, error) { return in, nil }, rpc.MethodOptions{Inline: inline})
		return s.Serve(l)
	}
}

// serveIsolated serves the same calls from a worker, another process of this program.
func serveIsolated(l net.Listener) error {
	s, err := isolated()
	if err != nil {
		return err
	}
	return s.Serve(l)
}

func isolated() (*rpc.Server, error) {
	// As many at once as there are callers: one worker, as the others have one server.
	s, err := rpc.NewServer(rpc.ServerOptions{Isolate: &rpc.Isolate{Concurrency: places}})
	if err == nil {
		rpc.Handle(s, "Echo", func(_ context.Context, in []byte) ([]byte, error) { return in, nil })
	}
	return s, err
}

// work is the main of that worker.
func work() error {
	s, err := isolated()
	if err != nil {
		return err
	}
	return s.Work(context.Background())
}

// callsClient has memory for each caller's result.
type callsClient struct {
	c   *rpc.Client
	out [places][]byte
}

func dialCalls(network, addr string, _ int) (client, error) {
	c, err := rpc.Dial(rpc.ClientOptions{}, network+":"+addr)
	return &callsClient{c: c}, err
}

// bulkSize is the size, in bytes, from which on a body is not in a hurry.
const bulkSize = 64 << 10

func (c *callsClient) call(i int, in []byte) (int, error) {
	var err error
	if len(in) >= bulkSize {
		c.out[i], err = c.c.CallBytes(context.Background(), "Echo", in, c.out[i], rpc.Bulk)
	} else {
		c.out[i], err = c.c.CallBytes(context.Background(), "Echo", in, c.out[i])
	}
	return len(c.out[i]), err
}

func (c *callsClient) close() error { return c.c.Close() }
