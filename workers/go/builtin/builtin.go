// Package builtin is what the built-in worker offers: the functions of the
// tuning example and, for tests of supervisors, those that misbehave. It holds
// no state, so a crash loses nothing of it.
package builtin

import (
	"fmt"

	"rpcpool.dev/tvm"
	worker "rpcpool.dev/workers/go"
	"rpcpool.dev/workers/go/matmul"
	"rpcpool.dev/workers/go/misbehave"
)

// New returns the built-in worker's server. flavour is as [tvm.ParseFlavour]
// takes it. With tests it also offers the functions of package misbehave.
func New(flavour string, tests bool) (*worker.Server, error) {
	f, err := tvm.ParseFlavour(flavour)
	if err != nil {
		return nil, err
	}
	s := worker.New(f)
	if err := matmul.Register(s); err != nil {
		return nil, fmt.Errorf("matmul: %w", err)
	}
	if tests {
		if err := misbehave.Register(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}
