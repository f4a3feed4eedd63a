package client

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
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

// kill ends a child at once.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
