package main

import (
	"net"
	"net/rpc"
)

// Echo is net/rpc's service.
type Echo struct{}

// Bytes echoes.
func (Echo) Bytes(in []byte, out *[]byte) error {
	*out = in
	return nil
}

func serveNetRPC(l net.Listener) error {
	s := rpc.NewServer()
	if err := s.Register(Echo{}); err != nil {
		return err
	}
	s.Accept(l)
	return net.ErrClosed
}

type netRPCClient struct{ c *rpc.Client }

func dialNetRPC(network, addr string, _ int) (client, error) {
	c, err := rpc.Dial(network, addr)
	return netRPCClient{c}, err
}

func (c netRPCClient) call(_ int, in []byte) (int, error) {
	var out []byte
	err := c.c.Call("Echo.Bytes", in, &out)
	return len(out), err
}

func (c netRPCClient) close() error { return c.c.Close() }
