//go:build !linux

package socket

import "net"

// Conn is a connected stream socket: there is none on this system.
type Conn struct{ net.Conn }

// Take returns false on this system.
func Take(net.Conn) (*Conn, bool) { return nil, false }
