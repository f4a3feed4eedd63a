//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"

	"rpcpool.dev/test/rdma/plan"
)

// neighbour is the other machine's first process.
type neighbour struct {
	conn net.Conn
	in   *bufio.Reader
}

// meet connects two machines; nil: there is one.
func meet(n plan.Network) (*neighbour, error) {
	if !n.Meet.IsValid() {
		return nil, nil
	}
	open := dial
	if n.Listens {
		open = accept
	}
	conn, err := open(n)
	if err != nil {
		return nil, fmt.Errorf("wait for the other machine: %w", err)
	}
	return &neighbour{conn: conn, in: bufio.NewReader(conn)}, nil
}

func dial(n plan.Network) (conn net.Conn, err error) {
	dialer := net.Dialer{Timeout: time.Second}
	err = within("it is not there", func() bool {
		var err error
		conn, err = dialer.DialContext(context.Background(), "tcp", n.Meet.String())
		return err == nil
	})
	return conn, err
}

func accept(n plan.Network) (net.Conn, error) {
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(n.Meet))
	if err != nil {
		return nil, err
	}
	defer listener.Close() //nolint:errcheck // it has done its duty
	if err := listener.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	return listener.Accept()
}

// shake waits until the other machine is at the same step.
func (n *neighbour) shake(step string) error {
	if n == nil {
		return nil
	}
	if err := n.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("meet the other machine: %w", err)
	}
	if _, err := fmt.Fprintln(n.conn, step); err != nil {
		return fmt.Errorf("meet the other machine: %w", err)
	}
	said, err := n.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("meet the other machine: %w", err)
	}
	if said != step+"\n" {
		return fmt.Errorf("the other machine is at %q", said)
	}
	return nil
}
