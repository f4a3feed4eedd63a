package device

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

// Netns is how RDMA devices belong to network namespaces, on the whole machine.
type Netns string

// Modes. The zero value is that it is not known.
const (
	// NetnsShared: all namespaces see all devices. It is the default.
	NetnsShared Netns = "shared"
	// NetnsExclusive: a device is in one namespace; the CNI plugin rdma moves it into
	// a pod's.
	NetnsExclusive Netns = "exclusive"
)

// Numbers of linux/rdma_netlink.h.
const (
	nldevSysGet   = 5<<10 | 6 // RDMA_NLDEV_CMD_SYS_GET of the client RDMA_NL_NLDEV
	nldevNetns    = 66        // RDMA_NLDEV_SYS_ATTR_NETNS_MODE, one byte
	netlinkHeader = 16
)

// netnsMode asks the kernel, as `rdma system show` does.
func netnsMode() Netns {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_RDMA)
	if err != nil {
		return "" // a kernel without RDMA
	}
	defer func() { _ = unix.Close(fd) }()
	patience := unix.NsecToTimeval(int64(time.Second))
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience)
	request := make([]byte, netlinkHeader)
	binary.NativeEndian.PutUint32(request[0:], netlinkHeader)
	binary.NativeEndian.PutUint16(request[4:], nldevSysGet)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return ""
	}
	answer := make([]byte, maxText)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return ""
	}
	return parseNetns(answer[:n])
}

// parseNetns reads the kernel's answer: a header and attributes.
func parseNetns(answer []byte) Netns {
	const attributeHeader = 4
	if len(answer) < netlinkHeader || binary.NativeEndian.Uint16(answer[4:]) != nldevSysGet {
		return ""
	}
	for rest := answer[netlinkHeader:]; len(rest) > attributeHeader; {
		size, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if size < attributeHeader || size > len(rest) {
			return ""
		}
		if kind == nldevNetns && size > attributeHeader {
			if rest[attributeHeader] == 0 {
				return NetnsExclusive
			}
			return NetnsShared
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
	return ""
}
