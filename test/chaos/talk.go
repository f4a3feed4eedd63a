//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"rpcpool.dev/tvm"
)

// talk is a client's end of a session. Unlike package client it leaves nothing
// in order by itself: what a program does to its connection is what happens.
type talk struct {
	conn  *net.TCPConn
	in    *bufio.Reader
	out   []byte
	funcs map[string]uint64
}

// Errors of a talk.
var (
	errGarbage = errors.New("reply that is none")
	errWrong   = errors.New("wrong answer")
)

// dial connects from the session's own address.
func dial(ctx context.Context, number int, addr string, until time.Time) (*talk, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: address(number)}, Timeout: dialTime}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	conn, ok := c.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("connect: %T is no TCP connection", c)
	}
	_ = conn.SetDeadline(until)
	return &talk{conn: conn, in: bufio.NewReaderSize(conn, 4<<10), funcs: map[string]uint64{}}, nil
}

const dialTime = 10 * time.Second

func (t *talk) close() { _ = t.conn.Close() }

// reset closes by a reset.
func (t *talk) reset() {
	_ = t.conn.SetLinger(0)
	_ = t.conn.Close()
}

// handshake shows a ticket.
func (t *talk) handshake(ticket string, timeout time.Duration) error {
	if _, err := t.conn.Write(tvm.AppendClientHello(nil, ticket, timeout)); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	var buf []byte
	for {
		answer, n, err := tvm.ParseServerAnswer(buf)
		switch {
		case err == nil:
			return answer.Err()
		case !errors.Is(err, tvm.ErrShortAnswer):
			return err
		}
		have := len(buf)
		buf = append(buf, make([]byte, n-have)...)
		if _, err := io.ReadFull(t.in, buf[have:]); err != nil {
			return fmt.Errorf("handshake: %w", err)
		}
	}
}

// init begins the session protocol.
func (t *talk) init() error {
	_, err := t.ask(tvm.InitServer{Version: tvm.ProtocolVersion})
	return err
}

// call calls a function and returns what it returned.
func (t *talk) call(name string, args ...tvm.Value) (tvm.Value, error) {
	if err := t.send(name, args...); err != nil {
		return tvm.Value{}, err
	}
	values, err := t.reply()
	switch {
	case err != nil:
		return tvm.Value{}, err
	case len(values) != 2:
		return tvm.Value{}, fmt.Errorf("%w: %d values", errGarbage, len(values))
	}
	return values[1], nil
}

// send sends a call and does not wait for the reply. That the connection ended
// is for whoever reads to find out: the server may have said why.
func (t *talk) send(name string, args ...tvm.Value) error {
	handle, ok := t.funcs[name]
	if !ok {
		values, err := t.ask(tvm.Syscall{Code: tvm.RPCGetGlobalFunc, Args: []tvm.Value{tvm.Str(name)}})
		if err != nil {
			return err
		}
		if len(values) != 1 || values[0].Handle == 0 {
			return fmt.Errorf("%w: no function %s", errWrong, name)
		}
		handle = values[0].Handle
		t.funcs[name] = handle
	}
	return t.write(tvm.CallFunc{Handle: handle, Args: args})
}

func (t *talk) ask(p tvm.Packet) ([]tvm.Value, error) {
	if err := t.write(p); err != nil {
		return nil, err
	}
	return t.reply()
}

func (t *talk) write(p tvm.Packet) (err error) {
	if t.out, err = tvm.AppendPacket(t.out[:0], tvm.FlavourC, p); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, _ = t.conn.Write(t.out)
	return nil
}

// reply reads one reply.
func (t *talk) reply() ([]tvm.Value, error) {
	var head [tvm.PacketHeader]byte
	if _, err := io.ReadFull(t.in, head[:]); err != nil {
		return nil, err //nolint:wrapcheck // ends tell by it
	}
	const most = 4 << 20
	n := binary.LittleEndian.Uint64(head[:])
	if n > most {
		return nil, fmt.Errorf("%w: of %d bytes", errGarbage, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(t.in, body); err != nil {
		return nil, err //nolint:wrapcheck // ends tell by it
	}
	p, err := tvm.DecodePacket(tvm.FlavourC, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errGarbage, err)
	}
	switch p := p.(type) {
	case tvm.Return:
		return p.Values, nil
	case tvm.Exception:
		return nil, exception{p.Text}
	default:
		return nil, fmt.Errorf("%w: %s", errGarbage, p.RPCCode())
	}
}

// hearOut reads whatever comes until the connection ends: the worker may say
// what it thinks of its client, and that is not how the session ends.
func (t *talk) hearOut() error {
	for {
		_, err := t.reply()
		var said exception
		if err != nil && !errors.As(err, &said) {
			return err
		}
	}
}
