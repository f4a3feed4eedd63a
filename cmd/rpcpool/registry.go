package main

import (
	"log/slog"
	"time"

	"rpcpool.dev/rpc/naming"
	"rpcpool.dev/rpc/registry"
)

// newHost makes the registry of native servers that is on a tracker's port. first says
// that no node knows one before it.
func newHost(first bool, log *slog.Logger) (*naming.Host, error) {
	return naming.NewHost(naming.Options{Registry: registry.Options{Term: uint32(time.Now().Unix()), First: first}}, log)
}
