// Package sleep waits, as long as nobody wants to hear of an end.
package sleep

import "time"

// For waits for d, and tells whether end, which may be a context's, was not closed meanwhile. If d
// is not positive it does not wait.
func For(d time.Duration, end <-chan struct{}) bool {
	if d <= 0 {
		select {
		case <-end:
			return false
		default:
			return true
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-end:
		return false
	}
}
