package client

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// child is what the test binary is when a test has started it again: the environment
// says which one.
const childVariable = "RPC_CLIENT_CHILD"

func runAsChild() {
	args := strings.Split(os.Getenv(childVariable), " ")
	err := fmt.Errorf("no such child: %v", args)
	switch {
	case args[0] == "endpoints" && len(args) == 3:
		err = callEndpoints(args[1], args[2])
	case args[0] == "stopped" && len(args) == 2:
		err = callWhileStopped(args[1])
	case args[0] == "call" && len(args) == 2:
		err = callTwice(args[1])
	case args[0] == "serve" && len(args) == 4:
		err = serveJournal(args[1], args[2], args[3])
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// process is a child.
type process struct {
	t   testing.TB
	cmd *exec.Cmd
	out bytes.Buffer
}

func runChild(t testing.TB, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.CommandContext(t.Context(), self)}
	p.cmd.Env = append(os.Environ(), childVariable+"="+strings.Join(args, " "))
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// wait returns what a child has printed.
func (p *process) wait() string {
	p.t.Helper()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%v: %s", err, &p.out)
	}
	return p.out.String()
}

// stop stops a child: when it returns, no thread of it runs.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	eventually(p.t, "all threads are stopped", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
		return err == nil && len(threads) > 0 && !slices.ContainsFunc(threads, func(path string) bool {
			b, err := os.ReadFile(path)
			return err == nil && !bytes.Contains(b, []byte(") T "))
		})
	})
}

// goOn lets a child that is stopped go on.
func (p *process) goOn() { p.signal(syscall.SIGCONT) }

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// kill ends a child at once.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
