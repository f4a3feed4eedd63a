package client_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rpcpool.dev/workers/go/client"
)

// A trial on a device of a pool: whatever the trial does to its worker is this
// session's error, and the next Request gets a fresh one.
func ExampleRequest() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := client.Request(ctx, "tracker:9190", "rk3588", client.Options{Timeout: 10 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	result, err := s.Call(ctx, "matmul.run", 512, 64, 64, 64, "ijk", 4, true, 0.1)
	switch {
	case errors.Is(err, client.ErrSessionTimeout):
		fmt.Println("too slow")
	case errors.Is(err, client.ErrSessionLost):
		fmt.Println("crashed")
	default:
		fmt.Println(result, err)
	}
}
