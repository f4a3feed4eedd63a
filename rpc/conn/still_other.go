//go:build !linux

package conn

import "time"

var begun = time.Now() //nolint:gochecknoglobals // where a clock begins

// elapsedHere is how long this process has run.
func elapsedHere() time.Duration { return time.Since(begun) }
