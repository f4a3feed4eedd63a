package main

import (
	"context"
	"net"

	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcserver"
)

// bytesEncoding carries *[]byte as it is.
type bytesEncoding struct{}

func (bytesEncoding) Marshal(m drpc.Message) ([]byte, error) { return *m.(*[]byte), nil }

func (bytesEncoding) Unmarshal(b []byte, m drpc.Message) error {
	p := m.(*[]byte)
	*p = append((*p)[:0], b...)
	return nil
}

type drpcHandler struct{}

func (drpcHandler) HandleRPC(stream drpc.Stream, _ string) error {
	var b []byte
	if err := stream.MsgRecv(&b, bytesEncoding{}); err != nil {
		return err
	}
	return stream.MsgSend(&b, bytesEncoding{})
}

func serveDRPC(l net.Listener) error {
	return drpcserver.New(drpcHandler{}).Serve(context.Background(), l)
}

type drpcClient struct {
	conns []*drpcconn.Conn
	out   [][]byte
}

func dialDRPC(network, addr string, callers int) (client, error) {
	all, err := dialAll(network, addr, callers)
	c := &drpcClient{out: make([][]byte, callers)}
	for _, nc := range all {
		c.conns = append(c.conns, drpcconn.New(nc))
	}
	return c, err
}

func (c *drpcClient) call(i int, in []byte) (int, error) {
	err := c.conns[i].Invoke(context.Background(), "/bench.Echo/Bytes", bytesEncoding{}, &in, &c.out[i])
	return len(c.out[i]), err
}

func (c *drpcClient) close() error {
	var err error
	for _, d := range c.conns {
		err = d.Close()
	}
	return err
}
