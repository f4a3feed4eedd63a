//go:build !linux

package server

import "time"

func machine() (time.Duration, bool) { return 0, false }
