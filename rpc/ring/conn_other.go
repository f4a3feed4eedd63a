//go:build !linux

package ring

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// Memory is what both processes have: there is none on this system.
type Memory struct{}

// New fails on this system.
func New() (*Memory, *os.File, error) { return nil, nil, errors.ErrUnsupported }

// Map fails on this system.
func Map(f *os.File) (*Memory, error) { return nil, errors.Join(errors.ErrUnsupported, f.Close()) }

// Close does nothing.
func (*Memory) Close() error { return nil }

// Bell is a connected Unix stream socket.
type Bell interface {
	net.Conn
	syscall.Conn
}

// Conn is a stream connection by memory: there is none on this system.
type Conn struct{ Bell }

// Over fails on this system.
func Over(*Memory, Bell) (*Conn, error) { return nil, errors.ErrUnsupported }

// TryRead is never called.
func (*Conn) TryRead([]byte) (int, error) { return 0, errors.ErrUnsupported }

// ReadSome is never called.
func (*Conn) ReadSome([][]byte) (int, error) { return 0, errors.ErrUnsupported }

// TryWrite is never called.
func (*Conn) TryWrite([][]byte) (int, error) { return 0, errors.ErrUnsupported }

// WriteSome is never called.
func (*Conn) WriteSome([][]byte) (int, error) { return 0, errors.ErrUnsupported }
