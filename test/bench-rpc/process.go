package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"
)

// child is a server's process. It answers each line on its standard input with
// its usage, and ends when that is closed.
type child struct {
	cmd   *exec.Cmd
	stdin interface {
		Write([]byte) (int, error)
		Close() error
	}
	out  *bufio.Reader
	addr string
}

// serverProfile names the environment variable with the file that a server's
// profile is written to.
const serverProfile = "BENCH_SERVER_PROFILE"

// usage is what a process has used since its start.
type usage struct {
	Mallocs uint64
	CPU     time.Duration
}

func used() usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return usage{m.Mallocs, time.Duration(r.Utime.Nano() + r.Stime.Nano())}
}

// startServer starts the process of a peer's server.
func startServer(p peer, network, addr string) (*child, error) {
	c := &child{cmd: exec.Command(os.Args[0], "serve", p.name, network, addr)} //nolint:gosec,noctx // this program; it ends when its input does
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	c.stdin = in
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	return c, c.read(&c.addr)
}

func (c *child) read(v any) error {
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("server of %v: %w", c.cmd.Args[2:], err)
	}
	return json.Unmarshal(line, v)
}

func (c *child) used() (u usage, err error) {
	if _, err = c.stdin.Write([]byte("\n")); err == nil {
		err = c.read(&u)
	}
	return u, err
}

func (c *child) stop() {
	_ = c.stdin.Close()
	_ = c.cmd.Wait()
}

// serve is the main of a child.
func serve(name, network, addr string) error {
	p, err := peerNamed(name)
	if err != nil {
		return err
	}
	l, err := net.Listen(network, addr) //nolint:noctx // binding does not block
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(l.Addr().String()); err != nil {
		return err
	}
	go func() {
		fmt.Fprintln(os.Stderr, name, p.serve(l))
		os.Exit(1)
	}()
	if path := os.Getenv(serverProfile); path != "" {
		f, err := os.Create(path) //nolint:gosec // the user's word
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if err := out.Encode(used()); err != nil {
			return err
		}
	}
	return nil
}
