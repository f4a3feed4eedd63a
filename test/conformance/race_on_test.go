//go:build linux && race

package conformance

const raceDetector = true
