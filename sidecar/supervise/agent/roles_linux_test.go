package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// play is the main function of this test binary in another role.
func play(role string, args []string) int {
	switch role {
	case "agent":
		return playAgent(args)
	case "worker":
		return playWorker(args)
	case "long":
		return playLong(args)
	case "beater":
		return playBeater()
	case "limits":
		return playLimits(args)
	case "remove": // DIRECTORY NAME
		dir, err := os.Open(args[0])
		if err == nil {
			err = removeTree(int(dir.Fd()), args[1])
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	case "connect": // SOCKET TIMES
		fmt.Println(intrude(args[0], args[1]))
		return 0
	case "deny-root": // WORKROOT: its mode is taken away between two workers
		if err := denyRoot(args[0]); err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	case "listed": // what a worker inherits where close_range is missing
		closeOnExecListed(statusFD)
		fmt.Println(syscall.Exec("/bin/ls", []string{"ls", "-l", "/proc/self/fd"}, nil))
		return 1
	default:
		fmt.Println("unknown role", role)
		return 2
	}
}

// playAgent: SOCKET WORKROOT [die-with-parent|guarded].
func playAgent(args []string) int {
	if len(args) > 2 && args[2] == "guarded" {
		if err := Guarded(LogOptions{Level: slog.LevelDebug}); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if len(args) > 2 {
		watched, unwatch, err := WithParent(ctx, os.Stdin)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer unwatch()
		ctx = watched
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	err := Run(ctx, Options{Socket: args[0], WorkRoot: args[1], Logger: log})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// playWorker: [warm] BEHAVIOUR ARGS…. The session is a file that is not in the
// runtime's poller, as in a C program.
func playWorker(args []string) int {
	session := os.NewFile(3, "session")
	if args[0] == "warm" {
		args = args[1:]
		var err error
		if session, err = receiveSession(); err != nil {
			fmt.Println(err)
			return 70
		}
		if session == nil {
			return 0 // the agent is gone
		}
	}
	return behave(session, args)
}

// receiveSession is a warm worker's side of the contract.
func receiveSession() (*os.File, error) {
	if _, err := unix.Write(3, []byte("R")); err != nil {
		return nil, err
	}
	body, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(3, body, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n == 0 {
		return nil, err
	}
	_ = unix.Close(3)
	var a assignment
	if body[0] != 'S' {
		return nil, fmt.Errorf("got %q", body[:n])
	}
	if err := json.Unmarshal(body[1:n], &a); err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("%d control messages, %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	_ = os.Setenv(envSessionID, a.ID)
	_ = os.Setenv(envKey, a.Key)
	_ = os.Setenv(envClient, a.Client)
	_ = os.Setenv("TEST_TIMEOUT_S", strconv.FormatFloat(a.Timeout, 'g', -1, 64))
	return os.NewFile(uintptr(fds[0]), "session"), nil
}

func behave(session *os.File, args []string) int {
	number := func(i int) int {
		n, _ := strconv.Atoi(args[i])
		return n
	}
	switch args[0] {
	case "echo": // until the client goes
		_, _ = io.Copy(session, session)
		return 0
	case "env": // NAMES…
		for _, name := range args[1:] {
			fmt.Fprintf(session, "%s=%s\n", name, os.Getenv(name))
		}
		return 0
	case "cwd":
		dir, _ := os.Getwd()
		entries, _ := os.ReadDir(".")
		fmt.Fprintf(session, "%s %d", dir, len(entries))
		return 0
	case "flags": // of descriptor 3
		flags, err := unix.FcntlInt(session.Fd(), unix.F_GETFL, 0)
		fmt.Fprintf(session, "nonblock=%v err=%v", flags&unix.O_NONBLOCK != 0, err)
		return 0
	case "say-then-exit": // TEXT STATUS
		fmt.Println(args[1])
		return number(2)
	case "ignore-term":
		signal.Ignore(syscall.SIGTERM)
		fmt.Fprint(session, "up")
		time.Sleep(time.Hour) // not select{}, which Go may find to be a deadlock
		return 0
	case "on-term": // STATUS: ends in order when asked to
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM)
		fmt.Fprint(session, "up")
		<-asked
		return number(1)
	case "grandchildren": // N THEN: double-forked, in sessions of their own, deaf to SIGTERM
		signal.Ignore(syscall.SIGTERM)
		pids, err := grandchildren(number(1))
		if err != nil {
			fmt.Fprint(session, err)
			return 70
		}
		fmt.Fprintln(session, strings.Join(pids, ","))
		if args[2] == "exit" {
			return 0
		}
		time.Sleep(time.Hour)
		return 0
	case "middle": // N: the parent of grandchildren
		for range number(1) {
			c := exec.Command(os.Args[0], "sleeper")
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := c.Start(); err != nil {
				return 70
			}
			fmt.Println(c.Process.Pid)
		}
		return 0
	case "hidden": // N DIR: grandchildren in DIR whose environment is empty
		out, err := exec.Command(os.Args[0], "middle-hidden", args[1], args[2]).Output()
		if err != nil {
			fmt.Fprint(session, err)
			return 70
		}
		fmt.Fprintln(session, strings.Join(strings.Fields(string(out)), ","))
		time.Sleep(time.Hour)
		return 0
	case "middle-hidden":
		for range number(1) {
			c := exec.Command("/bin/sh", "-c", `trap "" TERM HUP INT; exec sleep 1000`)
			c.Env, c.Dir = []string{}, args[2]
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := c.Start(); err != nil {
				return 70
			}
			fmt.Println(c.Process.Pid)
		}
		return 0
	case "sleeper":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		time.Sleep(time.Hour)
		return 0
	case "subreaper-off": // gives up the flag that keeps its descendants below it
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
		pids, err := grandchildren(1)
		if err != nil {
			return 70
		}
		fmt.Fprintln(session, pids[0])
		return 0
	case "fork-bomb": // N HOW: chains of processes that fork a successor and exit
		for range number(1) {
			c := exec.Command(os.Args[0], "hop-"+args[2], "3000")
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := c.Run(); err != nil { // the first of the chain is gone: it hops
				fmt.Println(err)
				return 70
			}
		}
		fmt.Fprint(session, "up")
		time.Sleep(time.Hour)
		return 0
	case "hop-exec":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		if number(1) == 0 {
			return 0
		}
		next := []string{args[0], strconv.Itoa(number(1) - 1)}
		c := exec.Command(os.Args[0], next...)
		for errors.Is(c.Start(), syscall.EAGAIN) {
			c = exec.Command(os.Args[0], next...)
		}
		return 0
	case "hop-fast", "hop-fast-setsid":
		hop(args[0] == "hop-fast-setsid")
		return 0
	case "intrude": // SOCKET TIMES HOW: connects to the agent, itself or by a descendant in a session of its own
		answer := ""
		if args[3] == "itself" {
			answer = intrude(args[1], args[2])
		} else {
			c := exec.Command(os.Args[0], args[1], args[2])
			c.Env = append(os.Environ(), roleEnv+"=connect")
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			out, err := c.CombinedOutput()
			if err != nil {
				out = fmt.Append(out, err)
			}
			answer = strings.TrimSpace(string(out))
		}
		fmt.Fprint(session, answer)
		_, _ = io.Copy(session, session)
		return 0
	case "hog": // BYTES
		var all [][]byte
		for size := 0; size < number(1); size += 1 << 20 {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			all = append(all, b)
		}
		fmt.Fprintf(session, "%d", len(all))
		time.Sleep(time.Hour)
		return 0
	case "big-file": // BYTES
		if err := os.WriteFile("big", make([]byte, number(1)), 0o600); err != nil {
			fmt.Println(err)
			return 70
		}
		return 0
	case "lock-dirs": // leaves directories that even their owner cannot enter
		_ = os.MkdirAll("a/b/c", 0o700)
		_ = os.WriteFile("a/b/c/f", []byte("x"), 0)
		_ = os.Symlink("/etc", "a/link")
		for _, d := range []string{"a/b/c", "a/b", "a", "."} {
			_ = os.Chmod(d, 0)
		}
		return 0
	case "lose-control": // a warm worker that closes its socket and lives on
		_, _ = unix.Write(3, []byte("R"))
		_ = unix.Close(3)
		time.Sleep(time.Hour)
		return 0
	case "ready-and-die":
		_, _ = unix.Write(3, []byte("R"))
		return number(1)
	case "never-ready":
		time.Sleep(time.Hour)
		return 0
	default:
		fmt.Println("unknown behaviour", args[0])
		return 70
	}
}

// intrude connects to an agent and tells what came of it: "refused", or what
// the agent said.
func intrude(socket, times string) string {
	n, _ := strconv.Atoi(times)
	for range n {
		c, err := net.Dial("unixpacket", socket)
		if err != nil {
			return err.Error()
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		b := make([]byte, 4096)
		got, err := c.Read(b)
		_ = c.Close()
		if got > 0 {
			return string(b[:got])
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			return err.Error()
		}
	}
	return "refused"
}

// hop forks and exits for ever, without exec, so that no process of the chain
// lives for longer than a fraction of a millisecond. After the first fork there
// is no Go runtime to speak of: system calls only.
func hop(setsid bool) {
	const enough = 200_000 // should the test itself be killed
	for range enough {
		pid, _, _ := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if pid != 0 {
			_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
		}
		if setsid {
			_, _, _ = syscall.RawSyscall(syscall.SYS_SETSID, 0, 0, 0)
		}
	}
}

func grandchildren(n int) ([]string, error) {
	out, err := exec.Command(os.Args[0], "middle", strconv.Itoa(n)).Output()
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(out)), nil
}
