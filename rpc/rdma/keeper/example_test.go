package keeper_test

import (
	"context"
	"fmt"
	"net"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/blob/remote"
	"rpcpool.dev/rpc/rdma/device"
	"rpcpool.dev/rpc/rdma/keeper"
)

// A server and a client, whose long arguments go by RDMA if both sides have a device for it.
// This machine has none, perhaps: then they go by TCP.
func Example() {
	k, err := keeper.Open(keeper.Options{Promise: device.Promise{Mode: device.Auto}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer k.Close()

	s, err := rpc.NewServer(rpc.ServerOptions{Blobs: rpc.BlobOptions{Far: remote.ServerOptions{Mover: k}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	rpc.Handle(s, "Length", func(_ context.Context, b []byte) (int, error) { return len(b), nil })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { _ = s.Serve(l) }()

	c, err := rpc.Dial(rpc.ClientOptions{FarBlobs: k.Far()}, l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	n, err := rpc.Call[int](context.Background(), c, "Length", make([]byte, 16<<20))
	fmt.Println(n, err)
	// Output: 16777216 <nil>
}
