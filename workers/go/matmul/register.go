package matmul

import (
	"encoding/json"
	"fmt"

	worker "rpcpool.dev/workers/go"
)

// Names of the functions that [Register] adds to a worker.
const (
	// FuncRun is (n int, tm, tn, tk int, order str, unroll int, pack bool,
	// minSeconds float) -> str: it measures on operands of its own, [Inputs].
	FuncRun = "matmul.run"
	// FuncArrays is (a, b, c tensor, tm, tn, tk int, order str, unroll int, pack
	// bool, minSeconds float) -> str: it measures on the caller's arrays
	// (float32, n×n) and leaves the product in c.
	FuncArrays = "matmul.arrays"
)

// Register adds the kernel to a worker. Both functions return a [Result] as
// JSON.
func Register(s *worker.Server) error {
	if err := s.Register(FuncRun, runOwn); err != nil {
		return fmt.Errorf("register %s: %w", FuncRun, err)
	}
	if err := s.Register(FuncArrays, runArrays); err != nil {
		return fmt.Errorf("register %s: %w", FuncArrays, err)
	}
	return nil
}

func runOwn(n, tm, tn, tk int, order string, unroll int, pack bool, minSeconds float64) (string, error) {
	if n < 1 || n > MaxN {
		return "", errSize(n)
	}
	a, b := Inputs(n)
	cfg := Config{TileM: tm, TileN: tn, TileK: tk, Order: order, Unroll: unroll, Pack: pack}
	return encode(Run(cfg, n, a, b, make([]float32, n*n), minSeconds))
}

func runArrays(a, b, c *worker.Tensor, tm, tn, tk int, order string, unroll int, pack bool, minSeconds float64) (string, error) {
	if len(c.Shape) != 2 || c.Shape[0] != c.Shape[1] {
		return "", fmt.Errorf("result has shape %v: want a square matrix", c.Shape)
	}
	var operands [3][]float32
	for i, t := range []*worker.Tensor{a, b, c} {
		var err error
		if operands[i], err = worker.Elements[float32](t); err != nil {
			return "", fmt.Errorf("operand %d: %w", i, err)
		}
	}
	cfg := Config{TileM: tm, TileN: tn, TileK: tk, Order: order, Unroll: unroll, Pack: pack}
	return encode(Run(cfg, int(c.Shape[0]), operands[0], operands[1], operands[2], minSeconds))
}

func encode(r Result, err error) (string, error) {
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode measurement: %w", err)
	}
	return string(text), nil
}

// Args returns the configuration as the calls' arguments, from tm to
// minSeconds.
func (c Config) Args(minSeconds float64) []any {
	return []any{int64(c.TileM), int64(c.TileN), int64(c.TileK), c.Order, int64(c.Unroll), c.Pack, minSeconds}
}
