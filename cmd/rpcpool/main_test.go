package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files anew")

// envRunAs has the test binary be a program, so that tests can send it signals
// and see how it ends.
const envRunAs = "RPCPOOL_TEST_RUN_AS"

// What the test binary can be.
const (
	asProgram = "rpcpool"         // rpcpool itself
	asEarly   = "stubborn, early" // takes for ever to stop; the grace never ends
	asLate    = "stubborn, late"  // the same; the grace is over at once
)

// What the stubborn ones print: first, once they were asked to stop, and for
// each line on stdin from then on.
const (
	lineStarted = "started\n"
	lineAsked   = "asked to stop\n"
	lineAlive   = "still stopping\n"
)

func TestMain(m *testing.M) {
	switch as := os.Getenv(envRunAs); as {
	case asProgram:
		main()
	case asEarly, asLate:
		stubborn(as == asLate)
	default:
		goleak.VerifyTestMain(m)
	}
}

// stubborn is a program that takes for ever to stop.
func stubborn(late bool) {
	ctx, stop := stopSignals(func(_ time.Duration, graceEnds func()) {
		if late {
			graceEnds()
		}
		fmt.Print(lineAsked)
	})
	defer stop()
	fmt.Print(lineStarted)
	<-ctx.Done()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Print(lineAlive)
	}
}
