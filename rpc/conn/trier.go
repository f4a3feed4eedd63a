package conn

import (
	"net"
	"syscall"

	"rpcpool.dev/rpc/ring"
)

// trier reads and writes without waiting, or with. One goroutine reads at a time, and one writes.
type trier interface {
	// write writes what is taken. A full socket takes nothing, which is no error; if wait is set, its write
	// deadline is waited for.
	write(p [][]byte, wait bool) (int, error)
	// read waits for something, and reads it into the slices of p, one after the other.
	read(p [][]byte) (int, error)
	// look reads what there is, without waiting: nothing, and no error, if there is nothing.
	look(p []byte) (int, error)
}

// newTrier returns one of the two of a connection; nil: it can only wait.
func newTrier(nc net.Conn) trier {
	switch s := nc.(type) {
	case *ring.Conn:
		return byMemory{s}
	case syscall.Conn:
		if raw, err := s.SyscallConn(); err == nil {
			return newAttempt(raw)
		}
	}
	return nil
}

// byMemory is a connection by memory that both processes have.
type byMemory struct{ *ring.Conn }

func (b byMemory) write(p [][]byte, wait bool) (int, error) {
	if wait {
		return b.WriteSome(p) //nolint:wrapcheck // the caller does
	}
	return b.TryWrite(p) //nolint:wrapcheck // the caller does
}

func (b byMemory) read(p [][]byte) (int, error) { return b.ReadSome(p) } //nolint:wrapcheck // the caller does

func (b byMemory) look(p []byte) (int, error) { return b.TryRead(p) } //nolint:wrapcheck // the caller does
