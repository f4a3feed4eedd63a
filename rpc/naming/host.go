package naming

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"rpcpool.dev/rpc"
)

// Host is a registry with a server of package rpc that has nothing else.
type Host struct {
	*Server
	rpc *rpc.Server
}

// NewHost returns a registry that nobody can reach yet. It must be closed.
func NewHost(opts Options, log *slog.Logger) (*Host, error) {
	s, err := NewServer(opts)
	if err != nil {
		return nil, err
	}
	rs, err := rpc.NewServer(rpc.ServerOptions{Limit: s.opts.Most + 1024, Token: opts.Token, Log: log})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("naming: %w", err), s.Close())
	}
	h := &Host{Server: s, rpc: rs}
	if err := s.Register(rs); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// Counts returns what there is. It takes time with the number of nodes.
func (h *Host) Counts() Counts {
	c := h.Server.Counts()
	c.Refused = h.rpc.Conns().Refused
	return c
}

// Take takes a client whose connection somebody else has accepted. It does not wait.
func (h *Host) Take(nc net.Conn) { h.rpc.Take(nc) }

// Serve takes clients from l until l or the host is closed.
func (h *Host) Serve(l net.Listener) error { return h.rpc.Serve(l) } //nolint:wrapcheck // it says all

// Close ends all connections, and waits until nothing runs.
func (h *Host) Close() error { return errors.Join(h.Server.Close(), h.rpc.Close()) }
