// Command worker is a worker of one's own: the functions of a program that `rpcpool serve`, or a
// pool on a cluster, starts and calls.
package main

import (
	"context"
	"fmt"
	"os"

	"rpcpool.dev/rpc"
)

// Pair are the arguments of Add. To callers in other languages they are a CBOR map: {"A": 1, "B": 2}.
type Pair struct{ A, B int }

func add(_ context.Context, p Pair) (int, error) { return p.A + p.B, nil }

func echo(_ context.Context, b []byte) ([]byte, error) { return b, nil }

func fail(_ context.Context, b []byte) ([]byte, error) {
	return nil, rpc.Fail("refused", b, "no: %s", b)
}

// slow ends when its caller gives it up, or its deadline comes.
func slow(ctx context.Context, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	s, err := rpc.NewServer(rpc.ServerOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	rpc.Handle(s, "Add", add)
	rpc.Handle(s, "echo", echo)
	rpc.Handle(s, "fail", fail)
	rpc.Handle(s, "slow", slow)
	return s.Work(ctx) // takes calls of the server that has started this program, until that ends
}
