package remote

import (
	"context"
	"errors"
	"fmt"
	"os"

	"rpcpool.dev/rpc"
	"rpcpool.dev/rpc/accumulator"
)

// Variable says in a worker's environment where its server's accumulators are (see
// [rpc.ParseAddress]).
const Variable = "RPCPOOL_ACCUMULATORS"

// Client writes to accumulators at an address. It is to be closed: that is the last
// flush.
type Client struct {
	*accumulator.Client

	calls *rpc.Client
}

// Dial returns a client of the accumulators at an address. It connects when something is
// to be pushed.
func Dial(address string, opts accumulator.Options) (*Client, error) {
	calls, err := rpc.Dial(rpc.ClientOptions{Service: "accumulators"}, address)
	if err != nil {
		return nil, fmt.Errorf("accumulators: %w", err)
	}
	return &Client{accumulator.NewClient(Pusher{calls}, opts), calls}, nil
}

// DialEnvironment is [Dial] of the address in [Variable]; nil, if there is none.
func DialEnvironment(opts accumulator.Options) (*Client, error) {
	address := os.Getenv(Variable)
	if address == "" {
		return nil, nil //nolint:nilnil // nobody gathers anything
	}
	return Dial(address, opts)
}

// Close flushes, as long as ctx lets it, and ends the connection.
func (c *Client) Close(ctx context.Context) error {
	return errors.Join(c.Client.Close(ctx), c.calls.Close())
}
