package main

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rpcpool.dev/rpc/naming"
	"rpcpool.dev/rpc/naming/export"
	"rpcpool.dev/rpc/registry"
)

// newHost makes the registry of native servers that is on a tracker's port, with its
// metrics. first says that no node knows one before it; token checks its clients, if it is
// there.
func newHost(first bool, token func([]byte) error, metrics prometheus.Registerer, log *slog.Logger) (*naming.Host, error) {
	host, err := naming.NewHost(naming.Options{Registry: registry.Options{Term: uint32(time.Now().Unix()), First: first}, Token: token}, log)
	if err != nil {
		return nil, err
	}
	if _, err := export.Register(metrics, host); err != nil {
		return nil, errors.Join(err, host.Close())
	}
	return host, nil
}
