// Package native is what tests of the watchdog need of C: loops that the Go
// scheduler cannot interrupt, and an exit handler. It is linked into no program.
// It owns nothing; a crash is its purpose.
package native
