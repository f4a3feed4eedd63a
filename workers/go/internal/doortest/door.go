// Package doortest is the front door that tests put before a worker's server:
// it shakes hands with any client and serves the session in this process. It
// keeps nothing, so a crash loses the test.
package doortest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	worker "rpcpool.dev/workers/go"

	"rpcpool.dev/tvm"
)

// Open serves sessions of s until the test ends and returns the address. A
// session that does not end in order fails the test unless tolerant says that
// its error is expected.
func Open(tb testing.TB, s *worker.Server, tolerant ...error) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // binding does not block
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() {
				if err := serve(ctx, s, conn); err != nil && ctx.Err() == nil && !isAny(err, tolerant) {
					tb.Errorf("session: %v", err)
				}
			})
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		cancel()
		sessions.Wait()
	})
	return l.Addr().String()
}

func isAny(err error, targets []error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func serve(ctx context.Context, s *worker.Server, conn net.Conn) error {
	if err := Greet(conn); err != nil {
		_ = conn.Close()
		return err
	}
	return s.ServeConn(ctx, conn)
}

// Greet reads a client's greeting and accepts it.
func Greet(conn net.Conn) error {
	var head [tvm.HandshakeHeader]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	n, err := tvm.HandshakeLen(head)
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, make([]byte, n)); err != nil {
		return err
	}
	_, err = conn.Write(tvm.AppendAccept(nil, "test"))
	return err
}
