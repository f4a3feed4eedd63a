package worker_test

import (
	"fmt"
	"os"
	"time"

	"rpcpool.dev/tvm"
	worker "rpcpool.dev/workers/go"
)

// A whole worker program.
func Example() {
	s := worker.New(tvm.FlavourC)
	for name, fn := range map[string]any{
		"addone": func(x int64) int64 { return x + 1 },
		"adder":  func(n int64) func(int64) int64 { return func(x int64) int64 { return x + n } },
		"scale": func(t *worker.Tensor, by float32) error {
			values, err := worker.Elements[float32](t)
			for i := range values {
				values[i] *= by
			}
			return err
		},
	} {
		if err := s.Register(name, fn); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(worker.ExitUsage)
		}
	}
	os.Exit(worker.Main(s))
}

// A program with functions of its own that serves in Watchdog isolation, as the
// command of a server:
//
//	rpcpool serve --isolation watchdog --key demo --listen :9090 --tracker HOST:9190 -- ./program
//
// Its sessions share the counter, for they are served by one process, and a
// session that takes too long ends that process. The agent starts it again.
func ExampleMain() {
	served := 0
	s := worker.New(tvm.FlavourC)
	err := s.Register("tvm.rpc.server.start", func() { served++ }) // at the start of each session
	if err == nil {
		err = s.Register("demo.search", func(session *worker.Session, rounds int) int {
			for range rounds {
				session.Beat() // it goes on
				time.Sleep(time.Millisecond)
			}
			return served
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(worker.ExitUsage)
	}
	os.Exit(worker.Main(s))
}
