package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

// limited is a start of this test binary as a worker that runs into limits.
func (f *fixture) limited(limits supervise.Limits, args ...string) *supervise.Start {
	s := testStart(append([]string{f.exe}, args...)...)
	s.Env = []string{roleEnv + "=limits", quickExit}
	s.Limits = limits
	return s
}

// playLimits: BEHAVIOUR ARGS….
func playLimits(args []string) int {
	session := os.NewFile(3, "session")
	switch args[0] {
	case "bomb": // [DIRECTORY]: in a control group of the test's own
		if len(args) > 1 {
			if err := os.WriteFile(args[1]+"/cgroup.procs", []byte("0"), 0); err != nil {
				fmt.Println(err)
				return 70
			}
		}
		bomb(session)
	case "forks": // how many processes it can have
		fmt.Fprint(session, forks())
	case "files": // how many descriptors it can have, and then its child
		fmt.Fprint(session, files(), " ")
		child := exec.Command(os.Args[0], "files-of-child")
		child.Stdout = session
		if err := child.Run(); err != nil {
			fmt.Println(err)
			return 70
		}
	case "files-of-child":
		fmt.Print(files())
	case "spin": // for a second; says how much of a core it got
		var before, after unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
		began := time.Now()
		for time.Since(began) < time.Second {
		}
		wall := time.Since(began)
		_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
		used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		fmt.Fprintf(session, "%.3f", float64(used)/float64(wall.Nanoseconds()))
	case "fill": // BYTES: in its work directory
		n, _ := strconv.Atoi(args[1])
		if err := os.WriteFile("fill", make([]byte, n), 0o600); err != nil {
			fmt.Println(err)
			return 70
		}
		fmt.Fprint(session, "full")
		_, _ = io.Copy(io.Discard, session)
	case "fill-session": // BYTES: long-lived, in the directory of its session
		n, _ := strconv.Atoi(args[1])
		return fillSession(n)
	default:
		fmt.Println("unknown behaviour", args[0])
		return 70
	}
	return 0
}

// bomb forks as fast as it can: every process of it does, each in a session of
// its own, deaf, and leaving no zombies that would count as processes. A minute
// later it ends, should nobody end it.
func bomb(session *os.File) {
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGCHLD)
	var now, end unix.Timespec
	clock := func(t *unix.Timespec) {
		_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(t)), 0)
	}
	clock(&end)
	end.Sec += 60
	fmt.Fprint(session, "up")
	for clock(&now); now.Sec < end.Sec; clock(&now) {
		pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if errno == 0 && pid == 0 {
			_, _, _ = syscall.RawSyscall(syscall.SYS_SETSID, 0, 0, 0)
		}
	}
	_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
}

// forks makes children until it cannot.
func forks() string {
	const enough = 200
	for n := range enough {
		pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		switch {
		case errno != 0:
			return fmt.Sprintf("%d %v", n, errno == syscall.EAGAIN)
		case pid == 0:
			for {
				_, _, _ = syscall.RawSyscall(syscall.SYS_PAUSE, 0, 0, 0)
			}
		}
	}
	return "unlimited"
}

// files opens files until it cannot, and closes them.
func files() string {
	const enough = 1000
	var open []*os.File
	defer func() {
		for _, f := range open {
			_ = f.Close()
		}
	}()
	for range enough {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return fmt.Sprintf("%d %v", len(open), errors.Is(err, syscall.EMFILE))
		}
		open = append(open, f)
	}
	return "unlimited"
}

// fillSession is a long-lived worker that fills the directory of its session.
func fillSession(n int) int {
	if _, err := unix.Write(3, []byte("R")); err != nil {
		return 70
	}
	body, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	got, _, _, _, err := unix.Recvmsg(3, body, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || got == 0 {
		return 0
	}
	var a assignment
	if err := json.Unmarshal(body[1:got], &a); err != nil {
		return 70
	}
	if err := os.WriteFile(a.WorkDir+"/fill", make([]byte, n), 0o600); err != nil {
		fmt.Println(err)
		return 70
	}
	time.Sleep(time.Hour)
	return 0
}
