//go:build linux

package main

import (
	"net"
)

// address is the client's address of a session. A record has it, and so the
// session's number; it is good for 16 million sessions.
func address(number int) net.IP {
	return net.IPv4(127, byte(1+number>>16), byte(number>>8), byte(number))
}

// numberOf is the inverse of address; ok is false of an address that is none.
func numberOf(hostPort string) (number int, ok bool) {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return 0, false
	}
	ip := net.ParseIP(host).To4()
	if ip == nil || ip[0] != 127 || ip[1] == 0 {
		return 0, false
	}
	return int(ip[1]-1)<<16 | int(ip[2])<<8 | int(ip[3]), true
}
