//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"rpcpool.dev/tvm"
)

// knocks are visits to doors with a ticket that they do not have, so that each
// is answered and none begins a session; in turns with visits of the same
// lengths to the floor.
type knocks struct {
	doors []string
	floor string
	send  func(net.Conn, []byte) error // sends the client's half of the handshake; nil: in one piece
	took  []sample                     // of each door
	raw   sample
}

const (
	knockFloorIs = "raw TCP connect and one ping-pong of the same size"
	knockWarmUp  = 50
)

// run knocks n times at each door.
func (k *knocks) run(ctx context.Context, n int) error {
	hello, refusal := tvm.AppendClientHello(nil, ticket(benchKey, 0), 0), tvm.AppendMismatch(nil)
	blank := make([]byte, len(refusal))
	for i := range knockWarmUp + n {
		if i == 0 || i == knockWarmUp {
			k.took, k.raw = make([]sample, len(k.doors)), sample{}
		}
		for j, door := range k.doors {
			if err := visit(ctx, &k.took[j], door, hello, refusal, k.send); err != nil {
				return err
			}
		}
		if err := visit(ctx, &k.raw, k.floor, floorMessage(len(hello), len(refusal)), blank, nil); err != nil {
			return fmt.Errorf("floor: %w", err)
		}
	}
	return nil
}

// visit connects, sends a message, reads the answer, which must be want, and
// closes; it adds the time from connecting to the answer. send sends the message
// (nil: in one piece).
func visit(ctx context.Context, into *sample, addr string, message, want []byte, send func(net.Conn, []byte) error) error {
	began := time.Now()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = c.Close() }()
	// With a reset instead of an orderly end, thousands of visits leave no
	// thousands of ports in TIME_WAIT.
	if t, ok := c.(*net.TCPConn); ok {
		if err := t.SetLinger(0); err != nil {
			return fmt.Errorf("linger: %w", err)
		}
	}
	if send == nil {
		_, err = c.Write(message)
	} else {
		err = send(c, message)
	}
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	into.add(time.Since(began))
	if !bytes.Equal(got, want) {
		return fmt.Errorf("answer is % x, want % x", got, want)
	}
	return nil
}
