package workers_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/server"
	"rpcpool.dev/rpc/session"
	"rpcpool.dev/rpc/wire"
	"rpcpool.dev/rpc/worker"
)

// The test's own binary is the worker's program, and a parent that dies.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("START") == "fails":
		fmt.Fprintln(os.Stderr, "no device")
		os.Exit(9)
	case worker.Inherited():
		if err := worker.Serve(context.Background(), program()...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if os.Getenv("STAYS") != "" {
			select {}
		}
		os.Exit(0)
	case os.Getenv("PARENT") != "":
		parent()
	case os.Getenv("SERVERS") != "":
		servers(os.Getenv("SERVERS"))
	case os.Getenv("ECHO") != "":
		rawEcho(os.Getenv("ECHO"))
	}
	goleak.VerifyTestMain(m)
}

// program is what the worker can be called for.
func program() []server.Method {
	list := []server.Method{
		{Name: "echo", Run: echo}, {Name: "echo!", Run: echo, Inline: true},
		{Name: "snprintf", Run: snprintf}, {Name: "wait", Run: wait}, {Name: "deaf", Run: deaf},
		{Name: "xid", Run: func(j *server.Job) (session.Code, []byte) { return session.OK, fmt.Appendf(nil, "%v", j.XID()) }},
		{Name: "pid", Run: func(*server.Job) (session.Code, []byte) {
			return session.OK, strconv.AppendInt(nil, int64(os.Getpid()), 10)
		}},
		{Name: "note", Run: func(j *server.Job) (session.Code, []byte) { ran(j); return session.OK, nil }},
		{Name: "fds", Run: fds}, {Name: "nested", Run: nested}, {Name: "family", Run: family},
		{Name: "no", Run: func(*server.Job) (session.Code, []byte) {
			return session.Failed, wire.Failure(time.Second, "no", []byte("detail"))
		}},
		{Name: "never", Run: func(*server.Job) (session.Code, []byte) { return session.Invalid, wire.Failure(-1, "not so", nil) }},
		{Name: "patient", Run: patient}, {Name: "upper", Run: upper}, {Name: "flood", Run: flood}, {Name: "flooded", Run: flooded}, {Name: "make", Run: makes},
	}
	for name, way := range ways {
		list = append(list, server.Method{Name: "die " + name, Run: func(j *server.Job) (session.Code, []byte) {
			ran(j)
			way()
			time.Sleep(time.Hour)
			return session.OK, nil
		}})
	}
	return list
}

func echo(j *server.Job) (session.Code, []byte) { return session.OK, j.Args }

// makes returns as many bytes as it is told.
func makes(j *server.Job) (session.Code, []byte) {
	n, err := strconv.Atoi(string(j.Args))
	if err != nil {
		return session.Invalid, nil
	}
	return session.OK, make([]byte, n)
}

// ran writes down that a call has run: the truth that outcomes are held against.
func ran(j *server.Job) {
	if path := os.Getenv("RUNS"); path != "" {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		_, _ = fmt.Fprintf(f, "%s\n", j.Args)
		_ = f.Close()
	}
}

// snprintf dies of a wild pointer once in 40 times.
func snprintf(j *server.Job) (session.Code, []byte) {
	ran(j)
	if rand.IntN(40) == 0 {
		segfault()
	}
	return session.OK, fmt.Appendf(j.Scratch(), "The answer is %s", j.Args)
}

func wait(j *server.Job) (session.Code, []byte) {
	ran(j)
	<-j.Done()
	return session.Failed, wire.Failure(0, "interrupted: "+j.Err().Error(), nil)
}

func deaf(j *server.Job) (session.Code, []byte) {
	ran(j)
	for {
		runtime.Gosched()
	}
}

// patient takes as long as it is told, in ms, or dies if it is told so.
func patient(j *server.Job) (session.Code, []byte) {
	ran(j)
	if bytes.HasPrefix(j.Args, []byte("die")) {
		segfault()
	}
	ms, _ := strconv.Atoi(string(j.Args))
	if ms > 0 {
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
		case <-j.Done():
		}
	}
	return session.OK, nil
}

// fds lists this process's descriptors.
func fds(*server.Job) (session.Code, []byte) {
	list, _ := os.ReadDir("/proc/self/fd")
	var b bytes.Buffer
	for _, e := range list {
		to, _ := os.Readlink("/proc/self/fd/" + e.Name())
		fmt.Fprintf(&b, "%s %s\n", e.Name(), to)
	}
	return session.OK, b.Bytes()
}

// family starts descendants in sessions of their own, tells their pids, and never ends.
func family(j *server.Job) (session.Code, []byte) {
	signal.Ignore(unix.SIGTERM)
	for range 3 {
		c := exec.Command("sh", "-c", "trap '' TERM; setsid sh -c 'echo $$ >>\"$1\"; exec sleep 600' x \"$1\" & echo $$ >>\"$1\"; exec sleep 600", "x", string(j.Args))
		c.SysProcAttr = &unix.SysProcAttr{Setsid: true}
		if err := c.Start(); err != nil {
			panic(err)
		}
	}
	for {
		time.Sleep(time.Hour)
	}
}

// nested calls method and server that it is told, which call the next, up to the end.
func nested(j *server.Job) (session.Code, []byte) {
	next, rest, more := strings.Cut(string(j.Args), " ")
	if !more {
		return session.OK, []byte(next)
	}
	c, err := client.New(client.Options{})
	if err == nil {
		defer c.Close()
		err = c.Update([]conn.Endpoint{{ID: next, Unix: next}})
	}
	if err != nil {
		return session.Failed, wire.Failure(0, err.Error(), nil)
	}
	u := client.Call{Method: "nested", Args: []byte(rest)}
	j.Aside(func() { c.Do(j, &u) })
	return u.Outcome.Code, append(u.Reply, "."+u.Text...)
}

// ways are the ways to die.
var ways = map[string]func(){
	"segv":      segfault,
	"abort":     func() { reset(unix.SIGABRT); _ = unix.Kill(os.Getpid(), unix.SIGABRT) },
	"ill":       func() { reset(unix.SIGILL); _ = unix.Kill(os.Getpid(), unix.SIGILL) },
	"exit 0":    func() { os.Exit(0) },
	"exit 7":    func() { os.Exit(7) },
	"_exit":     func() { go os.Exit(3) },
	"panic":     func() { go func() { panic("oh no") }() },
	"deadlock":  func() { var mu sync.Mutex; mu.Lock(); mu.Lock() },
	"stop":      func() { _ = unix.Kill(os.Getpid(), unix.SIGSTOP) },
	"deaf term": func() { signal.Ignore(unix.SIGTERM); select {} },
	"garbage":   func() { channels(func(fd int) { _, _ = unix.Write(fd, []byte(strings.Repeat("garbage!", 64))) }) },
	"close":     func() { channels(func(fd int) { _ = unix.Shutdown(fd, unix.SHUT_RDWR) }) },
	"overflow": func() {
		debug.SetMaxStack(16 << 20)
		var f func(int) int
		f = func(n int) int { return f(n+1) + 1 }
		go f(0)
	},
	"memory": func() {
		var all [][]byte
		for {
			b := make([]byte, 64<<20)
			all = append(all, b)
			runtime.KeepAlive(all)
		}
	},
	"leak": func() {
		go func() {
			for {
				if _, err := unix.Dup(1); err != nil {
					panic(err)
				}
			}
		}()
	},
}

// reset gives a signal back to the kernel, which Go's runtime has taken.
func reset(s unix.Signal) {
	var act [4]uint64 // struct sigaction: SIG_DFL
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
}

// segfault writes through a wild pointer, as native code would.
func segfault() {
	reset(unix.SIGSEGV)
	var at uint64
	binary.LittleEndian.PutUint64((*[8]byte)(unsafe.Pointer(&at))[:], 16)
	**(**int)(unsafe.Pointer(&at)) = 42
}

// channels visits the sockets of this process.
func channels(visit func(fd int)) {
	for fd := 3; fd < 64; fd++ {
		if t, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil && t == unix.SOCK_STREAM {
			visit(fd)
		}
	}
}
