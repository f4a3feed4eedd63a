package client

import "unsafe"

// overlap tells whether b begins inside of a.
func overlap(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	start, at := uintptr(unsafe.Pointer(unsafe.SliceData(a))), uintptr(unsafe.Pointer(unsafe.SliceData(b))) //nolint:gosec // they are compared, no more
	return at >= start && at < start+uintptr(len(a))
}
