//go:build !linux

package port

import (
	"errors"
	"syscall"

	"rpcpool.dev/rpc/frame"
)

const canPeek = false

func peek(syscall.Conn) (frame.Protocol, error) { return 0, errors.ErrUnsupported }
