package tcp

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// Listen listens on "host:port". The port may be 0 (any) or an inclusive range
// such as 9090-9199: the first port of it that is not in use is taken, and it
// is an error, naming the range, if all are. Any other failure to bind is
// returned at once.
func Listen(addr string) (*net.TCPListener, error) {
	host, first, last, err := parseAddr(addr)
	if err != nil {
		return nil, err
	}
	for port := first; port <= last; port++ {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port))) //nolint:noctx // binding does not block
		if err == nil {
			return l.(*net.TCPListener), nil //nolint:forcetypeassert // network "tcp" gives this type
		}
		if !errors.Is(err, syscall.EADDRINUSE) || first == last {
			return nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
	}
	return nil, fmt.Errorf("listen on %s: every port of the range is in use", addr)
}

func parseAddr(addr string) (host string, first, last int, err error) {
	host, ports, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, 0, fmt.Errorf("address %q: want HOST:PORT: %w", addr, err)
	}
	low, high, isRange := strings.Cut(ports, "-")
	if first, err = parsePort(addr, low); err != nil {
		return "", 0, 0, err
	}
	if !isRange {
		return host, first, first, nil
	}
	if last, err = parsePort(addr, high); err != nil {
		return "", 0, 0, err
	}
	if first == 0 || last < first {
		return "", 0, 0, fmt.Errorf("address %q: port range %s is empty", addr, ports)
	}
	return host, first, last, nil
}

func parsePort(addr, text string) (int, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("address %q: %q is not a port (0 to 65535)", addr, text)
	}
	return int(port), nil
}
