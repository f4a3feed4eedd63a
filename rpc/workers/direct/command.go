package direct

import (
	"errors"
	"io"
)

// Command is what a worker is started with.
type Command struct {
	Path   string // of the program
	Args   []string
	Env    []string // NAME=VALUE, more than what this process has
	Dir    string   // empty: this process's
	Limits []Limit
	Output io.Writer // gets what workers write to stdout and stderr, too; one Write at a time for each worker. Default: nobody
	Tail   int       // bytes of it that are kept for the report. Default 64 KiB
}

// Limit is a bound on a resource of a worker (setrlimit(2)), set right after its start.
type Limit struct {
	Resource int
	Value    uint64
}

// ErrClosed means that the starter starts no more workers.
var ErrClosed = errors.New("starter of workers is closed")
