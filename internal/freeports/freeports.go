// Package freeports finds ports for tests of programs that are told by flag or by
// file where to listen. It owns nothing: another program may take a port before
// the one that it was found for does, so what can listen at port 0 should.
package freeports

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
)

// The range is below the ports that Linux gives to outgoing connections and to
// listeners at port 0 (net.ipv4.ip_local_port_range, 32768 on), which other tests
// of the machine take all the time.
const (
	low  = 12000
	high = 32000
)

// Row finds n ports of 127.0.0.1 that follow each other and are free now, and
// returns the first. Where it looks first is random: processes that look at the
// same time rarely find the same.
func Row(n int) (first int, err error) {
	if n < 1 || n > high-low {
		return 0, fmt.Errorf("%d ports in a row between %d and %d", n, low, high)
	}
	start := rand.IntN(high - low) //nolint:gosec // keeps no secret
	for tried := 0; tried < high-low; tried += n {
		first = low + (start+tried)%(high-low)
		if first+n <= high && free(first, n) {
			return first, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports in a row between %d and %d", n, low, high)
}

func free(first, n int) bool {
	for port := first; port < first+n; port++ {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		defer l.Close() //nolint:errcheck // only the port is wanted
	}
	return true
}
