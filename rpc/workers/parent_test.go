package workers_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/workers"
	"rpcpool.dev/rpc/workers/direct"
)

// parent has workers, tells their pids as far as it knows them, and does nothing more.
func parent() {
	starter, err := direct.New(direct.Command{Path: os.Args[0]})
	if err != nil {
		panic(err)
	}
	pool, err := workers.New(workers.Options{Starter: starter, Workers: 2})
	if err != nil {
		panic(err)
	}
	core, err := server.New(pool, server.Options{Limit: -1, Open: true})
	if err != nil {
		panic(err)
	}
	pool.Start(core)
	for pool.Status().Starts < 3 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("ready")
	select {}
}

// children lists what is below a process.
func children(pid int) (list []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		p, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, ok := statOf(p); ok && s[1] == strconv.Itoa(pid) {
			list = append(list, p)
		}
	}
	return list
}

// statOf is what /proc says of a process, from its state on.
func statOf(pid int) ([]string, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, false
	}
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:])), true
}

// alive tells whether a process runs.
func alive(pid int) bool {
	s, ok := statOf(pid)
	return ok && s[0] != "Z" && s[0] != "X"
}

func TestWorkersEndWithTheirParent(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0])
	c.Env = append(os.Environ(), "PARENT=1")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	pids := children(c.Process.Pid)
	if len(pids) != 3 {
		t.Errorf("%d workers", len(pids))
	}
	_ = unix.Kill(c.Process.Pid, unix.SIGKILL)
	start := time.Now()
	for _, pid := range pids {
		eventually(t, "the worker ends", func() bool { return !alive(pid) })
	}
	t.Logf("%d workers ended %v after their parent", len(pids), time.Since(start))
	_ = c.Wait()
}
