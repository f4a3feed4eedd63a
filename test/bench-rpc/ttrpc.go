package main

import (
	"context"
	"net"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func serveTTRPC(l net.Listener) error {
	s, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	s.RegisterService("bench.Echo", &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		"Bytes": func(_ context.Context, unmarshal func(any) error) (any, error) {
			var b wrapperspb.BytesValue
			return &b, unmarshal(&b)
		},
	}})
	return s.Serve(context.Background(), l)
}

type ttrpcClient struct{ c *ttrpc.Client }

func dialTTRPC(network, addr string, _ int) (client, error) {
	nc, err := dialOne(network, addr)
	if err != nil {
		return nil, err
	}
	return ttrpcClient{ttrpc.NewClient(nc)}, nil
}

func (c ttrpcClient) call(_ int, in []byte) (int, error) {
	var out wrapperspb.BytesValue
	err := c.c.Call(context.Background(), "bench.Echo", "Bytes", &wrapperspb.BytesValue{Value: in}, &out)
	return len(out.Value), err
}

func (c ttrpcClient) close() error { return c.c.Close() }
