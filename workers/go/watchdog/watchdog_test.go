package watchdog

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rpcpool.dev/workers/go/watchdog/internal/native"
)

// envVictim makes the test binary a victim.
const envVictim = "RPCPOOL_TEST_VICTIM"

func TestMain(m *testing.M) {
	if name := os.Getenv(envVictim); name != "" {
		victims()[name]()
		return
	}
	goleak.VerifyTestMain(m)
}

const (
	patience = time.Minute // for everything that must happen
	// mostLate is what a test accepts on a machine that does other things at
	// the same time; see BenchmarkLateness for what is measured on one.
	mostLate = 250 * time.Millisecond
)

// ending is how a victim ended.
type ending struct {
	status int           // -1: by a signal
	late   time.Duration // after its deadline
	said   string        // after its deadline
	state  string
}

func run(tb testing.TB, name string) ending {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), envVictim+"="+name, "GOTRACEBACK=none", "GORACE=atexit_sleep_ms=0")
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	end := time.Now()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		tb.Fatalf("victim that %s: %v, %v", name, err, ctx.Err())
	}
	e := ending{status: cmd.ProcessState.ExitCode(), state: cmd.ProcessState.String()}
	for line := range strings.Lines(out.String()) {
		if deadline, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64); err == nil {
			e.late = end.Sub(time.Unix(0, deadline))
		} else {
			e.said += line
		}
	}
	if stderr.Len() > 0 {
		tb.Errorf("victim that %s: stderr: %s", name, &stderr)
	}
	return e
}

func TestProcessEndsAtTheDeadline(t *testing.T) {
	for _, c := range []struct {
		name           string
		inC, needsTurn bool
		status         int
	}{
		{name: "is idle"},
		{name: "has an exit handler and defers"},
		{name: "computes in Go", needsTurn: true},
		{name: "computes in C", inC: true},
		{name: "holds locks"},
		{name: "stopped the world", needsTurn: true},
		{name: "stopped the world, no thread", status: -1},
		{name: "moves its deadline"},
		{name: "moves its deadline nearer"},
		{name: "serves a thousand sessions"},
		{name: "is over before it starts"},
		{name: "takes turns with many callers"},
		{name: "closes everybody's descriptors"},
	} {
		t.Run("of a program that "+c.name, func(t *testing.T) {
			switch {
			case c.inC && !native.Available:
				t.Skip("needs cgo")
			case c.needsTurn && !threadNeedsNoTurn:
				c.status = -1 // the backstop's
			}
			if c.status != 0 && runtime.GOOS != "linux" {
				t.Skip("this system's backstop is another")
			}
			e := run(t, c.name)
			t.Logf("%s, %v after the deadline", e.state, e.late)
			for tries := 1; e.late > mostLate && tries < 3; tries++ { // that may have been the machine
				e = run(t, c.name)
				t.Logf("again: %s, %v after the deadline", e.state, e.late)
			}
			if e.status != c.status && (c.status == 0 || !strings.Contains(e.state, "killed")) {
				t.Errorf("%s, want status %d", e.state, c.status)
			}
			if e.late < -time.Millisecond || e.late > mostLate {
				t.Errorf("ended %v after the deadline, want 0 to %v", e.late, mostLate)
			}
			if e.said != "" {
				t.Errorf("after the deadline the program said %q", e.said)
			}
		})
	}
}

func TestProcessLivesOn(t *testing.T) {
	for _, name := range []string{
		"disarms", "disarms and closes", "closes", "lets the backstop's time go by", "closes descriptors and survives",
	} {
		t.Run("that "+name, func(t *testing.T) {
			if e := run(t, name); e.status != survived {
				t.Errorf("%s, want status %d", e.state, survived)
			}
		})
	}
}

func TestClosedWatchdogStaysClosed(t *testing.T) {
	w, err := New(Options{Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	w.Stop() // not armed: nothing happens
	w.Close()
	w.Close()
	w.Stop()
	if err := w.Start(0); !errors.Is(err, ErrClosed) {
		t.Errorf("Start after Close: %v", err)
	}
}

func TestDeadlineBeyondTheClock(t *testing.T) {
	w, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const longest = 1<<63 - 1
	if err := w.Start(longest); err != nil {
		t.Fatal(err)
	}
	if got := w.words.deadline.Load(); got != longest {
		t.Errorf("deadline %d, want the last there is", got)
	}
}
