package rpc

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
)

// counted is a listener whose connections count what they carry.
type counted struct {
	net.Listener
	bytes atomic.Int64
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countedConn{c, &l.bytes}, nil
}

type countedConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

func TestS2_25_BodiesAreCompressedWhereThatIsAllowed(t *testing.T) {
	text := []byte(strings.Repeat("the same again and again, ", 64<<10/26))
	for name, may := range map[string]bool{"far away": true, "on this machine": false} {
		t.Run(name, func(t *testing.T) {
			far := func(net.Addr) bool { return may }
			s, err := NewServer(ServerOptions{Compress: far})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			Handle(s, "Echo", func(_ context.Context, in []byte) ([]byte, error) {
				if !bytes.Equal(in, text) {
					t.Errorf("%d bytes have come, not what was sent", len(in))
				}
				return in, nil
			})
			l, err := s.Listen(t.Context(), "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			n := &counted{Listener: l}
			served := make(chan error, 1)
			go func() { served <- s.Serve(n) }()
			c, err := Dial(ClientOptions{Compress: far}, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			got, err := Call[[]byte](soon(t), c, "Echo", text)
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("%d bytes have come back, %v", len(got), err)
			}
			_ = c.Close()
			_ = s.Close()
			<-served
			if carried := n.bytes.Load(); may != (carried < int64(len(text))) {
				t.Errorf("%d bytes were carried for an echo of %d", carried, len(text))
			}
		})
	}
}
