//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
)

// freePorts finds ports below those that the kernel gives to clients: a server
// that is started again needs its own.
func freePorts(n int) (addrs []string, err error) {
	const low, high = 12000, 30000
	for port := low + os.Getpid()%(high-low-1000); port < high && len(addrs) < n; port++ {
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", addr) //nolint:noctx // returns at once
		if err != nil {
			continue
		}
		_ = l.Close()
		addrs = append(addrs, addr)
	}
	if len(addrs) < n {
		return nil, fmt.Errorf("no %d free ports between %d and %d", n, low, high)
	}
	return addrs, nil
}
