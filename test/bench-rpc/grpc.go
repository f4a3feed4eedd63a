package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

// bytesCodec carries *[]byte as it is.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "bytes" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

type echoer interface{}

func serveGRPC(l net.Listener) error {
	s := grpc.NewServer(grpc.ForceServerCodecV2(bytesCodec{}))
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		HandlerType: (*echoer)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Bytes", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var b []byte
			return &b, decode(&b)
		}}},
	}, Echo{})
	return s.Serve(l)
}

type grpcClient struct{ c *grpc.ClientConn }

func dialGRPC(network, addr string, _ int) (client, error) {
	c, err := grpc.NewClient("passthrough:"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{})),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}))
	return grpcClient{c}, err
}

func (c grpcClient) call(_ int, in []byte) (int, error) {
	var out []byte
	err := c.c.Invoke(context.Background(), "/bench.Echo/Bytes", &in, &out)
	return len(out), err
}

func (c grpcClient) close() error { return c.c.Close() }
