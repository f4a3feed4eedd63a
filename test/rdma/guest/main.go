//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"rpcpool.dev/test/rdma/plan"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest: this is the first process of a virtual machine; run make test-rdma")
		os.Exit(1)
	}
	report := &console{out: os.Stdout}
	if err := work(report); err != nil {
		report.line(plan.Line{Kind: plan.Failed, Text: err.Error()})
		report.kernelLog()
	} else {
		report.line(plan.Line{Kind: plan.Done})
	}
	// What is not out yet is lost with the machine.
	_ = unix.IoctlSetInt(int(os.Stdout.Fd()), unix.TCSBRK, 1)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

func work(report *console) error {
	text, err := os.ReadFile(plan.File)
	if err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	p, err := plan.Decode(text)
	if err != nil {
		return err
	}
	if err := mount(); err != nil {
		return err
	}
	if err := loadModules(); err != nil {
		return err
	}
	if err := setUpNetwork(p.Network); err != nil {
		return err
	}
	gid, err := setUpRDMA(p.Network)
	if err != nil {
		return err
	}
	other, err := meet(p.Network)
	if err != nil {
		return err
	}
	for _, step := range p.Steps {
		r := runner{report: report, gid: gid, other: other}
		if err := r.run(step); err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
		}
	}
	return nil
}

// console prints lines, each as a whole.
type console struct {
	mu  sync.Mutex
	out io.Writer
}

func (c *console) line(l plan.Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(c.out, l)
}

// kernelLog prints the last of what the kernel has to say.
func (c *console) kernelLog() {
	const most, last = 1 << 20, 4 << 10
	text := make([]byte, most)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, text)
	if err != nil {
		return
	}
	text = text[max(0, n-last):n]
	_, text, _ = bytes.Cut(text, []byte("\n"))
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, "%s\n", text)
}

// lines gives what is written to a function, line by line.
type lines struct {
	rest []byte
	each func(string)
}

func (l *lines) Write(text []byte) (int, error) {
	l.rest = append(l.rest, text...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(text), nil
		}
		l.rest = rest
		l.each(string(line))
	}
}

// end gives it what had no end.
func (l *lines) end() {
	if len(l.rest) > 0 {
		l.each(string(l.rest))
	}
}
