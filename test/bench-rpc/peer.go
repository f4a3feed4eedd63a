package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
)

// peer is one way to echo.
type peer struct {
	name  string
	serve func(net.Listener) error
	// dial connects so many callers.
	dial func(network, addr string, callers int) (client, error)
}

// client is connected.
type client interface {
	// call echoes, as caller i. in is not changed. Only the length of what comes
	// back is looked at.
	call(i int, in []byte) (n int, err error)
	close() error
}

var peers = []peer{
	{"raw", serveRaw, dialRaw},
	{"raw-relay", serveRelay, dialRaw},
	{"calls", serveCalls(false, false), dialCalls},
	{"calls-inline", serveCalls(true, false), dialCalls},
	{"calls-journal", serveCalls(false, true), dialCalls},
	{"calls-isolated", serveIsolated, dialCalls},
	{"frames", serveNative(false), dialNative},
	{"net/rpc", serveNetRPC, dialNetRPC},
	{"drpc", serveDRPC, dialDRPC},
	{"ttrpc", serveTTRPC, dialTTRPC},
	{"capnp", serveCapnp, dialCapnp},
	{"grpc", serveGRPC, dialGRPC},
	{"connect", serveConnect, dialConnect},
}

func peerNamed(name string) (peer, error) {
	i := slices.IndexFunc(peers, func(p peer) bool { return p.name == name })
	if i < 0 {
		return peer{}, fmt.Errorf("no peer %q", name)
	}
	return peers[i], nil
}

func chosen(names string) ([]peer, error) {
	if names == "" {
		return peers, nil
	}
	var list []peer
	for name := range strings.SplitSeq(names, ",") {
		p, err := peerNamed(name)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// closers closes several.
type closers []net.Conn

func (c closers) close() error {
	var err error
	for _, nc := range c {
		err = nc.Close()
	}
	return err
}

func dialOne(network, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(context.Background(), network, addr)
}

func dialAll(network, addr string, n int) (closers, error) {
	var all closers
	for range n {
		nc, err := dialOne(network, addr)
		if err != nil {
			return nil, err
		}
		all = append(all, nc)
	}
	return all, nil
}
