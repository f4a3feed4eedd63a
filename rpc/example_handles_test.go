package rpc_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/blob"
)

// A program lends a part of a blob to another one, which lends a part of that to a handler.
func ExampleBlob_Share() {
	dir, err := os.MkdirTemp("", "share")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := rpc.NewServer(rpc.ServerOptions{})
	if err != nil {
		panic(err)
	}
	defer func() { _ = s.Close() }()
	rpc.Handle(s, "Upper", func(_ context.Context, b rpc.BlobArg) (string, error) {
		return strings.ToUpper(string(b.Bytes())), nil
	})
	ctx, address := context.Background(), "unix:"+filepath.Join(dir, "socket")
	l, err := s.Listen(ctx, address)
	if err != nil {
		panic(err)
	}
	go func() { _ = s.Serve(l) }()

	owner, err := rpc.Dial(rpc.ClientOptions{}, address)
	if err != nil {
		panic(err)
	}
	defer func() { _ = owner.Close() }()
	b, err := owner.PutBlob(ctx, 19, strings.NewReader("large, small, large"))
	if err != nil {
		panic(err)
	}
	h, err := b.Share(ctx, 7, 12, blob.Read) // plain data: send it by whatever way
	if err != nil {
		panic(err)
	}

	other, err := rpc.Dial(rpc.ClientOptions{}, address)
	if err != nil {
		panic(err)
	}
	defer func() { _ = other.Close() }()
	part, err := other.SliceBlob(ctx, h, 0, 5, blob.Read)
	if err != nil {
		panic(err)
	}
	text, err := rpc.Call[string](ctx, other, "Upper", other.BlobIn(part))
	fmt.Println(text, err)
	_, err = other.SliceBlob(ctx, part, 0, 12, blob.Read)
	fmt.Println(err != nil)
	fmt.Println(b.Free())
	// Output:
	// SMALL <nil>
	// true
	// <nil>
}
