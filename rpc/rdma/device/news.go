package device

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// News tells when an interface or an address of this network namespace has changed, which
// GIDs and ports follow, until ctx ends. Several changes may be one. Without it, whoever
// looks finds out when he looks next.
func News(ctx context.Context) (<-chan struct{}, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("netlink: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "netlink") // whose reads end when it is closed
	news := make(chan struct{}, 1)
	context.AfterFunc(ctx, func() { _ = socket.Close() })
	go func() {
		for buffer := make([]byte, 1<<16); ; {
			// What the messages say does not matter, nor that some were lost (ENOBUFS).
			if _, err := socket.Read(buffer); err != nil && ctx.Err() != nil {
				return
			}
			select {
			case news <- struct{}{}:
			default: // whoever looks has not looked yet
			}
		}
	}()
	return news, nil
}
