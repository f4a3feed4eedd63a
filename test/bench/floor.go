//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// The floor is a process that answers a message of any length by one of any
// length, and does nothing else: what remains is the cost of two processes that
// speak over TCP. It is written like any plain Go server, with a goroutine a
// connection, TCP_NODELAY, one read and one write a message. A message begins
// with its own length, that of the answer, and the milliseconds to wait before
// it, as u16 each.
const (
	floorCommand = "floor" // the hidden subcommand that runs it
	floorHeader  = 6
	floorBuffer  = 512 // of a connection; larger messages are read in parts
)

// floor starts a floor process.
func (l *lab) floor(ctx context.Context) (*service, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start the floor: %w", err)
	}
	return l.startService(ctx, "floor", self, floorCommand)
}

// floorMessage is a message of the given length, at least floorHeader, that
// asks for an answer of answer bytes.
func floorMessage(length, answer int) []byte {
	return floorLater(length, answer, 0)
}

// floorLater is floorMessage for an answer that comes after a while.
func floorLater(length, answer int, after time.Duration) []byte {
	b := make([]byte, max(length, floorHeader))
	binary.LittleEndian.PutUint16(b, uint16(len(b)))
	binary.LittleEndian.PutUint16(b[2:], uint16(answer))
	binary.LittleEndian.PutUint16(b[4:], uint16(after.Milliseconds()))
	return b
}

// runFloor is the process.
func runFloor(stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	fmt.Fprintf(stdout, "floor on %s\n", listener.Addr())
	return serveFloor(ctx, listener)
}

// serveFloor answers until ctx ends.
func serveFloor(ctx context.Context, listener net.Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	for {
		c, err := listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("floor: %w", err)
		}
		conns.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			answerFloor(c)
			_ = c.Close()
		})
	}
}

// answerFloor answers on one connection until it ends.
func answerFloor(c net.Conn) {
	f := &floorConn{conn: c, in: make([]byte, floorBuffer), out: make([]byte, floorBuffer)}
	for f.answer() == nil {
	}
}

// floorConn is a connection of the floor's process.
type floorConn struct {
	conn    net.Conn
	in, out []byte
	have    int // bytes in in
}

// answer reads one message and answers it.
func (f *floorConn) answer() error {
	for f.have < floorHeader {
		n, err := f.conn.Read(f.in[f.have:])
		if err != nil {
			return err
		}
		f.have += n
	}
	length := int(binary.LittleEndian.Uint16(f.in))
	answer := int(binary.LittleEndian.Uint16(f.in[2:]))
	if after := binary.LittleEndian.Uint16(f.in[4:]); after > 0 {
		time.Sleep(time.Duration(after) * time.Millisecond)
	}
	if err := f.skip(length); err != nil {
		return err
	}
	for answer > 0 {
		n, err := f.conn.Write(f.out[:min(answer, len(f.out))])
		if err != nil {
			return err
		}
		answer -= n
	}
	return nil
}

// skip takes a message of so many bytes off, what of it has not come yet too.
func (f *floorConn) skip(length int) error {
	if f.have > length { // pipelined: the rest is the next message's
		f.have = copy(f.in, f.in[length:f.have])
		return nil
	}
	for f.have < length {
		n, err := f.conn.Read(f.in[:min(len(f.in), length-f.have)])
		if err != nil {
			return err
		}
		f.have += n
	}
	f.have = 0
	return nil
}
