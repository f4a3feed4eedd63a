package main

import (
	"bufio"
	"context"
	"net"

	"capnproto.org/go/capnp/v3"
	"capnproto.org/go/capnp/v3/rpc"
	"capnproto.org/go/capnp/v3/rpc/transport"

	"rpcpool.dev/test/bench-rpc/echo"
)

// capnpEcho answers one call after the other, as servers of capnp do unless a handler
// calls Go: that is faster here, where nothing waits.
type capnpEcho struct{}

func (capnpEcho) Bytes(_ context.Context, call echo.Echo_bytes) error {
	in, err := call.Args().Body()
	if err != nil {
		return err
	}
	out, err := call.AllocResults()
	if err != nil {
		return err
	}
	return out.SetBody(in)
}

// capnpCodec is the one of rpc.NewStreamTransport with a buffer: that one reads each
// message in two system calls.
type capnpCodec struct {
	*capnp.Decoder
	*capnp.Encoder
	net.Conn
}

func capnpConn(nc net.Conn, boot capnp.Client) *rpc.Conn {
	codec := capnpCodec{capnp.NewDecoder(bufio.NewReader(nc)), capnp.NewEncoder(nc), nc}
	return rpc.NewConn(transport.New(codec), &rpc.Options{BootstrapClient: boot})
}

func serveCapnp(l net.Listener) error {
	boot := capnp.Client(echo.Echo_ServerToClient(capnpEcho{}))
	defer boot.Release()
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		capnpConn(nc, boot.AddRef())
	}
}

type capnpClient struct {
	conn *rpc.Conn
	echo echo.Echo
}

func dialCapnp(network, addr string, _ int) (client, error) {
	nc, err := dialOne(network, addr)
	if err != nil {
		return nil, err
	}
	conn := capnpConn(nc, capnp.Client{})
	c := capnpClient{conn, echo.Echo(conn.Bootstrap(context.Background()))}
	return c, c.echo.Resolve(context.Background())
}

// call looks at the result where capnp has read it: nothing is copied.
func (c capnpClient) call(_ int, in []byte) (int, error) {
	answer, release := c.echo.Bytes(context.Background(), func(p echo.Echo_bytes_Params) error { return p.SetBody(in) })
	defer release()
	out, err := answer.Struct()
	if err != nil {
		return 0, err
	}
	b, err := out.Body()
	return len(b), err
}

func (c capnpClient) close() error {
	c.echo.Release()
	return c.conn.Close()
}
