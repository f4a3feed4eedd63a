//go:build race

package sim

// raced: the race detector makes everything some ten times slower, and here is
// nothing to race: each schedule is played by one goroutine.
const raced = true
