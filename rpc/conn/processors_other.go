//go:build !linux

package conn

import "runtime"

// processors returns how many processors this process has.
func processors() int { return runtime.GOMAXPROCS(0) }
