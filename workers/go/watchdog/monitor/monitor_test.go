package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// envProgram makes the test binary the program that is monitored: its value is
// how it ends.
const envProgram = "RPCPOOL_TEST_PROGRAM"

func TestMain(m *testing.M) {
	switch how := os.Getenv(envProgram); how {
	case "":
		goleak.VerifyTestMain(m)
	case "kill":
		p, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = p.Kill()
		}
		panic(err)
	case "stay":
		fmt.Println("up")
		time.Sleep(time.Hour)
	default:
		status, _ := strconv.Atoi(how)
		os.Exit(status)
	}
}

func program(ctx context.Context, how string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), envProgram+"="+how, "GORACE=atexit_sleep_ms=0")
	return cmd
}

func TestProgramIsStartedAgainHoweverItEnded(t *testing.T) {
	const times = 100
	ways := []string{"kill", "0", "3"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	starts, ends := 0, map[string]int{}
	err := Monitor{
		Command: func(ctx context.Context) *exec.Cmd {
			starts++
			return program(ctx, ways[starts%len(ways)])
		},
		AtOnce: time.Nanosecond, // none of these ended too soon
		Ended: func(e End) {
			if e.Pause != 0 {
				t.Errorf("a pause of %v", e.Pause)
			}
			ends[e.State.String()]++
			if starts == times {
				cancel()
			}
		},
	}.Run(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	if starts != times || len(ends) != len(ways) {
		t.Errorf("%d starts and ends %v; want %d starts, %d kinds of end", starts, ends, times, len(ways))
	}
	t.Log(ends)
}

func TestProgramThatCannotBeStarted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	absent := filepath.Join(t.TempDir(), "absent")
	var pauses []time.Duration
	err := Monitor{
		Command:  func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, absent) },
		MinPause: time.Millisecond, MaxPause: 4 * time.Millisecond, AtOnce: time.Hour,
		Ended: func(e End) {
			if !errors.Is(e.Err, os.ErrNotExist) || e.State != nil {
				t.Errorf("ended with %v, %v", e.State, e.Err)
			}
			if pauses = append(pauses, e.Pause); len(pauses) == 5 {
				cancel()
			}
		},
	}.Run(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	if got := fmt.Sprint(pauses); got != "[1ms 2ms 4ms 4ms 4ms]" {
		t.Errorf("pauses %v, want 1, 2, 4, 4, 4", got)
	}
}

func TestPausesGrowOnlyWhileProgramsEndAtOnce(t *testing.T) {
	p := pauses{atOnce: time.Second, least: 100 * time.Millisecond, most: time.Minute}
	for i, c := range []struct{ ran, want time.Duration }{
		{0, 100 * time.Millisecond},
		{0, 200 * time.Millisecond},
		{time.Second - 1, 400 * time.Millisecond},
		{time.Second, 0}, // it worked
		{time.Millisecond, 100 * time.Millisecond},
		{time.Hour, 0},
	} {
		if got := p.next(c.ran); got != c.want {
			t.Errorf("pause %d, after a run of %v: %v, want %v", i, c.ran, got, c.want)
		}
	}
	for range 100 {
		p.next(0)
	}
	if p.last != time.Minute {
		t.Errorf("the pause has become %v, want at most a minute", p.last)
	}
}

// signalled is a writer that tells of the first write.
type signalled chan struct{}

func (s signalled) Write(p []byte) (int, error) {
	select {
	case s <- struct{}{}:
	default:
	}
	return len(p), nil
}

func TestProgramIsEndedWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	up, why := make(signalled, 1), errors.New("enough")
	go func() {
		<-up
		cancel(why)
	}()
	var end End
	err := Monitor{
		Command: func(ctx context.Context) *exec.Cmd {
			cmd := program(ctx, "stay")
			cmd.Stdout = up
			return cmd
		},
		Ended: func(e End) { end = e },
	}.Run(ctx)
	if !errors.Is(err, why) {
		t.Errorf("Run: %v, want %v", err, why)
	}
	if end.State == nil || end.State.Success() {
		t.Errorf("the program ended by %v, want a kill", end.State)
	}
}

func TestMonitorWithoutACommand(t *testing.T) {
	if err := (Monitor{}).Run(t.Context()); err == nil {
		t.Error("no error")
	}
}

// TestMonitorIsLean: it does one thing, and a machine can afford it.
func TestMonitorIsLean(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(out)) {
		dep = strings.TrimSpace(dep)
		host, _, _ := strings.Cut(dep, "/")
		if dep != "rpcpool.dev/workers/go/watchdog/monitor" && strings.Contains(host, ".") || dep == "net" {
			t.Errorf("the monitor links %s", dep)
		}
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("this system does not tell how much memory a process has")
	}
	binary := filepath.Join(t.TempDir(), "monitor")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./testdata/monitor").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	status, err := exec.CommandContext(t.Context(), binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := bytes.Cut(status, []byte("VmHWM:"))
	fields := bytes.Fields(after)
	if len(fields) == 0 {
		t.Fatalf("status without VmHWM: %s", status)
	}
	peak, err := strconv.Atoi(string(fields[0]))
	if err != nil {
		t.Fatal(err)
	}
	const most = 10 << 10
	t.Logf("peak memory after 100 restarts: %d KiB", peak)
	if peak > most {
		t.Errorf("a monitor takes %d KiB, want at most %d", peak, most)
	}
}
