package rpc

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"rpcpool.dev/rpc/conn"
)

var errAddress = errors.New("bad address")

// splitAddress reads an address: HOST:PORT or tcp:HOST:PORT, unix:PATH, or unix:@NAME for
// an abstract socket.
func splitAddress(s string) (network, where string, err error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if path == "" || path == "@" {
			return "", "", fmt.Errorf("%w %q: no path behind the prefix", errAddress, s)
		}
		return "unix", path, nil
	}
	where = strings.TrimPrefix(strings.TrimPrefix(s, "tcp:"), "//")
	if _, _, err := net.SplitHostPort(where); err != nil {
		return "", "", fmt.Errorf("%w %q: %w", errAddress, s, err)
	}
	return "tcp", where, nil
}

// ParseAddress makes an endpoint of a server's address: HOST:PORT or tcp:HOST:PORT,
// unix:PATH, or unix:@NAME for an abstract socket. Its id is the address.
func ParseAddress(s string) (conn.Endpoint, error) {
	network, where, err := splitAddress(s)
	if err != nil {
		return conn.Endpoint{}, err
	}
	e := conn.Endpoint{ID: s, TCP: where}
	if network == "unix" {
		e.TCP, e.Unix = "", where
	}
	return e, nil
}
