//go:build !linux

package rdma

import "errors"

func readLocked() (locked, error) { return locked{}, errors.ErrUnsupported }
