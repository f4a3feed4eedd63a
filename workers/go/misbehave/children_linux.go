package misbehave

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// envRole tells a process that a function started what it is. Its value is
// "<role>:<number>".
const envRole = "RPCPOOL_MISBEHAVE"

const (
	roleParent  = "parent"  // starts a sleeper, prints its process id, ends
	roleSleeper = "sleeper" // sleeps
	roleBomb    = "bomb"    // starts two halves of number-1 bombs, prints all process ids, sleeps
)

// grandchildren leaves n processes that nobody here is the parent of any more,
// each in a session of its own, SIGTERM ignored. It returns their process ids,
// separated by commas.
func grandchildren(n int) (string, error) {
	pids := make([]string, 0, n)
	for range n {
		out, err := again(roleParent, 0, true).Output()
		if err != nil {
			return "", fmt.Errorf("start a grandchild: %w", err)
		}
		pids = append(pids, strings.TrimSpace(string(out)))
	}
	return strings.Join(pids, ","), nil
}

// forkBomb leaves n processes in this process group that started one another.
// It returns their process ids, separated by commas.
func forkBomb(n int) (string, error) {
	const most = 1000
	if n < 1 || n > most {
		return "", fmt.Errorf("a bomb of %d processes; 1 to %d are allowed", n, most)
	}
	return startBomb(n)
}

// startBomb starts a bomb and reads the process ids of it and of all that it
// starts.
func startBomb(n int) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close() //nolint:errcheck // read only
	cmd := again(roleBomb, n, false)
	cmd.Stdout = w
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return "", fmt.Errorf("start a bomb: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	out, err := io.ReadAll(r)
	return string(bytes.TrimSpace(out)), err
}

// again prepares this program to be started with a role, without any
// descriptor of this process.
func again(role string, n int, ownSession bool) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:noctx,gosec // this program's own arguments; to be left behind is its purpose
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s:%d", envRole, role, n))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: ownSession}
	return cmd
}

// leftBehind is the main of a process that a function started.
func leftBehind(role string) int {
	signal.Ignore(unix.SIGTERM, unix.SIGHUP, unix.SIGINT)
	role, number, _ := strings.Cut(role, ":")
	n, _ := strconv.Atoi(number)
	switch role {
	case roleParent:
		child := again(roleSleeper, 0, true)
		if err := child.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println(child.Process.Pid)
		return 0
	case roleBomb:
		return bomb(n)
	case roleSleeper:
		time.Sleep(LeftBehindFor)
		return 0
	default:
		return 2
	}
}

// bomb starts up to two others, half of what is left each, and prints all
// process ids.
func bomb(n int) int {
	pids := []string{strconv.Itoa(os.Getpid())}
	left := (n - 1) / 2
	for _, half := range []int{left, n - 1 - left} {
		if half == 0 {
			continue
		}
		started, err := startBomb(half)
		if err != nil {
			break // the limit that a bomb is to find
		}
		pids = append(pids, started)
	}
	fmt.Println(strings.Join(pids, ","))
	_ = os.Stdout.Close()
	time.Sleep(LeftBehindFor)
	return 0
}
