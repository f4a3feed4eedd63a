package accumulator_test

import (
	"context"
	"fmt"
	"time"

	"rpcpool.dev/rpc/accumulator"
)

// Two nodes write to the same accumulators. Here a server is in the same process; with a
// network in between, a Pusher makes a call to it.
func Example() {
	ctx := context.Background()
	server, err := accumulator.NewServer(accumulator.ServerOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for node := range 2 {
		acc := accumulator.NewClient(server, accumulator.Options{})
		acc.Sum("instances").Add(int64(node) + 1)
		acc.Max("temperature", accumulator.Label{Name: "room", Value: "a"}).Add(-20 - float64(node))
		acc.Timer("step").Observe(250 * time.Millisecond)
		if err := acc.Close(ctx); err != nil {
			fmt.Println(err)
		}
	}
	values, err := server.List()
	if err != nil {
		fmt.Println(err)
	}
	for _, v := range values {
		switch s := v.State.(type) {
		case *accumulator.Sum:
			fmt.Println(v.Name, s)
		case *accumulator.Max:
			most, _ := s.Value()
			fmt.Println(v.Name, v.Labels, most)
		case *accumulator.Timer:
			fmt.Println(v.Name, s.Stats(time.Millisecond).Mean, "ms")
		}
	}
	// Output:
	// instances 3
	// step 250 ms
	// temperature [{room a}] -20
}

func ExampleTimerWriter_Start() {
	server, _ := accumulator.NewServer(accumulator.ServerOptions{})
	acc := accumulator.NewClient(server, accumulator.Options{ScopeTimers: true})
	timer := acc.Timer("step")
	func() {
		defer timer.Start().Stop()
	}()
	_ = acc.Close(context.Background())
	v, _ := server.Read("step")
	fmt.Println(v.State.(*accumulator.Timer).Count())
	// Output: 1
}
