//go:build linux && !race

package conformance

const raceDetector = false
