// Package stall stops a Go program for good, for tests of those who must end it
// then. It owns nothing and keeps nothing; nothing but a signal or an exit ends
// what it starts.
package stall

import "runtime"

// Loop computes for ever in assembly, where the scheduler cannot preempt it.
func Loop()

// World stops the world for good: the garbage collector waits for n goroutines
// that are in Loop. It does not return.
func World(n int) {
	for range n {
		go Loop()
	}
	for {
		runtime.Gosched() // until the loops run
		runtime.GC()
	}
}
