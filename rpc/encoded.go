package rpc

import (
	"context"

	"rpcpool.dev/rpc/client"
)

// CallEncoded is [Call] for callers that know no types, such as tools: args are encoded
// already, by the codec with that id (see package codec), and so is the result.
func CallEncoded(ctx context.Context, c *Client, method string, codec uint8, args []byte, opts ...CallOption) (reply []byte, err error) {
	u := &client.Call{Method: method, Codec: codec, Args: args}
	for _, o := range opts {
		o(u)
	}
	if err := unsafe(u); err != nil {
		return nil, err
	}
	do := func(ctx context.Context) error {
		c.repeat(ctx, u)
		return errorOf(u)
	}
	if err := chain(c.opts.Interceptors, ctx, method, do); err != nil {
		return nil, err
	}
	return u.Reply, nil
}
