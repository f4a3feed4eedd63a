//go:build !linux

package supervise

// ShortTurns does nothing here.
func ShortTurns() {}
