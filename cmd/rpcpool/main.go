// Command rpcpool is the one binary for people: it runs trackers and servers,
// shows what they do, runs pools of a manifest on this machine and tunes on
// them. Each subcommand has a file of its own and holds flags and wiring only.
//
// Exit status: 0 fine, 1 failed, 2 wrong usage. Data goes to stdout, logs and
// errors to stderr.
package main

import (
	"io"
	"os"
	"time"
)

func main() {
	os.Exit(mainWithSignals(os.Args, os.Stdout, os.Stderr))
}

// mainWithSignals runs the command line until it is done or a signal asks it to
// stop.
func mainWithSignals(args []string, stdout, stderr io.Writer) int {
	ctx, stop := stopSignals(func(d time.Duration, f func()) { time.AfterFunc(d, f) })
	defer stop()
	return run(ctx, args, stdout, stderr)
}
