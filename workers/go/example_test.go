package worker_test

import (
	"fmt"
	"os"

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
