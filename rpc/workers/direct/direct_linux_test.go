package direct

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/workers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func shell(t *testing.T, cmd Command, script string) (workers.Process, *Starter) {
	t.Helper()
	cmd.Path, cmd.Args = "/bin/sh", []string{"-c", script}
	s, err := New(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := s.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Channel().Close() })
	return p, s
}

func TestTheLastWordsAreKept(t *testing.T) {
	var mu sync.Mutex
	var seen bytes.Buffer
	p, _ := shell(t, Command{Tail: 64, Output: writer(func(b []byte) {
		mu.Lock()
		defer mu.Unlock()
		seen.Write(b)
	})}, "seq 1 20000; echo the end >&2; exit 3")
	<-p.Exited()
	r := p.Report()
	if r.Status != 3 || len(r.Output) != 64 || !strings.HasSuffix(string(r.Output), "20000\nthe end\n") {
		t.Errorf("%+v: %q", r, r.Output)
	}
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(seen.String(), "\n"); n != 20001 {
		t.Errorf("%d lines were copied", n)
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

func TestAWorkerHasItsLimitsAndItsGroup(t *testing.T) {
	p, _ := shell(t, Command{Env: []string{"A=b"}, Dir: "/", Limits: []Limit{{unix.RLIMIT_NOFILE, 33}}},
		`read go <&3; ulimit -n; echo $A $RPCPOOL_SESSION; pwd; ps -o pid=,pgid=,sid= -p $$ | awk '{print $1==$2 && $2!=$3}'; ls /proc/$$/fd`)
	if _, err := p.Channel().Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if got := strings.Fields(string(p.Report().Output)); strings.Join(got, " ") != "33 b calls / 1 0 1 2 3" {
		t.Errorf("%q", got)
	}
}

// TestWhatAWorkerLeavesBehindIsKilled: in its group, and in sessions of
// their own; whether it was killed, or died by itself.
func TestWhatAWorkerLeavesBehindIsKilled(t *testing.T) {
	for how, end := range map[string]string{"it is killed": "sleep 600", "it dies": "exit 1"} {
		t.Run(how, func(t *testing.T) {
			out := make(chan string, 100)
			p, _ := shell(t, Command{Output: writer(func(b []byte) {
				for w := range strings.FieldsSeq(string(b)) {
					out <- w
				}
			})}, `sleep 600 & echo $!; setsid sleep 600 & echo $!; (setsid sh -c 'trap "" TERM; echo $$; sleep 600 & echo $!; exec sleep 600') & sleep 0.2; echo done; `+end)
			var pids []int
			for w := range out {
				if w == "done" {
					break
				}
				pid, err := strconv.Atoi(w)
				if err != nil {
					t.Fatal(err)
				}
				pids = append(pids, pid)
			}
			if len(pids) != 4 {
				t.Errorf("%d descendants", len(pids))
			}
			if end != "exit 1" {
				p.Kill()
			}
			<-p.Exited()
			for _, pid := range pids {
				for end := time.Now().Add(10 * time.Second); lives(pid); time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("%d lives", pid)
					}
				}
			}
		})
	}
}

// TestAGroupCanBeLeft: for this process's, of which nobody is killed with its group.
func TestAGroupCanBeLeft(t *testing.T) {
	perl, err := exec.LookPath("perl")
	if err != nil {
		t.Skip(err)
	}
	leave := "exec " + perl + ` -e '$| = 1; setpgrp(0, $ENV{GROUP}) or die; print "$$\n"; sleep 600'`
	for name, c := range map[string]struct {
		script string
		end    func(workers.Process)
	}{
		"by a worker that is killed":        {leave, workers.Process.Kill},
		"by what a dead worker has started": {"(" + leave + ") & read go <&3", func(p workers.Process) { _ = p.Channel().Close() }},
	} {
		t.Run(name, func(t *testing.T) {
			said := make(chan string, 1)
			p, _ := shell(t, Command{
				Env:    []string{"GROUP=" + strconv.Itoa(unix.Getpgrp())},
				Output: writer(func(b []byte) { said <- strings.TrimSpace(string(b)) }),
			}, c.script)
			pid, err := strconv.Atoi(<-said)
			if err != nil {
				t.Fatal(err)
			}
			c.end(p)
			for end := time.Now().Add(10 * time.Second); lives(pid); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					_ = unix.Kill(pid, unix.SIGKILL)
					t.Fatal("it lives")
				}
			}
			<-p.Exited()
		})
	}
}

func lives(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	s, ok := parseStat(pid, b)
	return err == nil && ok && !s.zombie
}

func TestWhatCannotBeStartedLeavesNothing(t *testing.T) {
	s, err := New(Command{Path: "/no/such/program"})
	if err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadDir("/proc/self/fd")
	for range 10 {
		if _, err := s.Start(t.Context()); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/no/such/program") {
			t.Fatal(err)
		}
	}
	if bad, err := New(Command{Path: "/bin/sh", Limits: []Limit{{Resource: 99}}}); err != nil {
		t.Error(err)
	} else {
		if _, err := bad.Start(t.Context()); !errors.Is(err, unix.EINVAL) {
			t.Error(err)
		}
		_ = bad.Close()
	}
	if after, _ := os.ReadDir("/proc/self/fd"); len(after) > len(before) {
		t.Errorf("%d descriptors, then %d", len(before), len(after))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Start(context.Background()); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestCloseKillsWhatIsLeft: who closes a starter has no workers any more.
func TestCloseKillsWhatIsLeft(t *testing.T) {
	p, s := shell(t, Command{}, "trap '' TERM; sleep 600")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-p.Exited():
	default:
		t.Error("it lives")
	}
	if r := p.Report(); r.Signal != int(unix.SIGKILL) {
		t.Errorf("%+v", r)
	}
}

func TestAnOddNameOfAProgramIsRead(t *testing.T) {
	s, ok := parseStat(7, []byte("7 (a) b (c) R 5 6 9 0 -1"))
	if !ok || s.parent != 5 || s.group != 6 || s.zombie {
		t.Errorf("%+v, %v", s, ok)
	}
	if _, ok := parseStat(7, nil); ok {
		t.Error("nothing was read as a process")
	}
}
