//go:build linux

package conformance

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar"
	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

// freeze puts a process in a frozen group of the version 1 freezer, where not
// even SIGKILL reaches it, as in a driver that hangs. A frozen version 2 group
// would not do: its processes can be killed.
func freeze(t *testing.T, pid int) (thaw func()) {
	t.Helper()
	dir := cgroupDir(t, "freezer.state", "/sys/fs/cgroup/freezer")
	write(t, filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
	write(t, filepath.Join(dir, "freezer.state"), "FROZEN")
	thaw = func() { write(t, filepath.Join(dir, "freezer.state"), "THAWED") }
	t.Cleanup(func() {
		thaw()
		eventually(t, patience, "frozen process is gone", func() bool { return !alive(pid) })
	})
	return thaw
}

func TestRow082_UnkillableWorker(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr, func(o *sidecar.Options) { o.ReapTimeout = time.Second }).ready()
	session := tr.open(client.Options{Timeout: limit})
	thaw := freeze(t, pidOf(t, session))

	_, err := tryCall(session, "test.sleep", 30.0)
	var remote *client.RemoteError
	if !errors.As(err, &remote) || !strings.HasPrefix(remote.Text, "unkillable: ") {
		t.Errorf("client got %v, want an exception that says unkillable", err)
	}
	if e := s.log.nextEnd(t); e.cause != "unkillable" {
		t.Errorf("recorded %s: %s", e.cause, e.how)
	}
	s.waitState("quarantined")
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "SIGKILL") {
		t.Errorf("Ready() = %v, want the reason", err)
	}
	if q := tr.Summary().Queue[key]; q.Free != 0 {
		t.Errorf("%d offers of a device that a dead worker holds", q.Free)
	}
	reason := ""
	for _, info := range tr.Summary().Servers {
		reason = string(info.Info["reason"])
	}
	if !strings.Contains(reason, "SIGKILL") {
		t.Errorf("the tracker shows reason %s", reason)
	}
	thaw()
	s.waitState("free") // the driver came back, and the worker is gone
	tr.works()
}

// goSilent has the kernel drop whatever arrives for a connection, as if its
// host had lost power: no FIN, no RST, no ACK.
func goSilent(t *testing.T, c net.Conn) {
	t.Helper()
	conn, ok := c.(*net.TCPConn)
	if !ok {
		t.Fatalf("%T is no TCP connection", c)
	}
	dropAll := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err2 := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &dropAll[0]})
	})
	if err = errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
}

// checkVanished has a client vanish in the middle of a call.
func checkVanished(t *testing.T, within time.Duration, vanish func(*testing.T, net.Conn)) {
	t.Helper()
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	session := tr.open(client.Options{})
	pid := pidOf(t, session)
	called := hang(t, session)
	began := time.Now()
	vanish(t, session.NetConn())
	s.waitState("free")
	gone := time.Since(began)
	t.Logf("offered again after %v", gone)
	if gone > within {
		t.Errorf("offered again after %v, want within %v", gone, within)
	}
	if e := s.log.nextEnd(t); e.cause != "client-gone" {
		t.Errorf("recorded %s: %s", e.cause, e.how)
	}
	if alive(pid) {
		t.Errorf("worker %d lives on", pid)
	}
	closeOf(t, session)
	if err := <-called; err == nil {
		t.Error("the call came back")
	}
	tr.works()
}

func TestRow083_ClientVanishesByFIN(t *testing.T) {
	checkVanished(t, 5*time.Second, func(t *testing.T, c net.Conn) { closeOf(t, c) })
}

func TestRow083_ClientVanishesByRST(t *testing.T) {
	checkVanished(t, 5*time.Second, func(t *testing.T, c net.Conn) {
		if err := c.(*net.TCPConn).SetLinger(0); err != nil {
			t.Error(err)
		}
		closeOf(t, c)
	})
}

// The host of the client is gone; keepalive finds out in about 20 s.
func TestRow083_ClientVanishesInSilence(t *testing.T) {
	checkVanished(t, patience+slack, goSilent)
}

// hang starts a call that does not return, and waits until it has begun.
func hang(t *testing.T, s *client.Session) (called <-chan error) {
	t.Helper()
	begun, result := filepath.Join(tempDir(t), "begun"), make(chan error, 1)
	go func() {
		_, err := s.Call(t.Context(), "test.hang", begun)
		result <- err
	}()
	eventually(t, patience, "the call has begun", func() bool {
		_, err := os.Stat(begun)
		return err == nil
	})
	return result
}

func TestRow084_ForgottenSession(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]time.Duration{"no timeout asked": 0, "more than the maximum asked": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const most = limit
			tr := startTracker(t)
			s := startServer(t, tr, func(o *sidecar.Options) { o.SessionTimeout.Default, o.SessionTimeout.Max = most, most }).ready()
			forgotten := tr.open(client.Options{Timeout: ask})
			checkAddOne(t, forgotten)
			e := s.log.nextEnd(t)
			if e.cause != "timeout" || e.duration < most || e.duration > most+500*time.Millisecond+slack {
				t.Errorf("recorded %s after %v, want timeout after %v", e.cause, e.duration, most)
			}
			tr.works()
			if _, err := tryCall(forgotten, "test.addone", 1); !errors.Is(err, client.ErrSessionTimeout) {
				t.Errorf("client that remembers gets %v", err)
			}
		})
	}
}

func TestRow085_FilesDoNotSurvive(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr).ready()
	for name, leave := range map[string]func(*client.Session){
		"orderly end": func(c *client.Session) { closeOf(t, c) },
		"crash":       func(c *client.Session) { _ = crash(t, c, "test.segfault") },
	} {
		first := tr.open(client.Options{})
		if err := first.Upload(t.Context(), "secret.bin", []byte("secret")); err != nil {
			t.Fatal(err)
		}
		if got, err := first.Download(t.Context(), "secret.bin"); err != nil || string(got) != "secret" {
			t.Fatalf("download in the same session: %q, %v", got, err)
		}
		leave(first)
		s.log.nextEnd(t)
		next := tr.open(client.Options{})
		if got, err := next.Download(t.Context(), "secret.bin"); err == nil {
			t.Errorf("%s: the next session finds %q", name, got)
		}
		if files, err := next.ListDir(t.Context()); err != nil || len(files) > 0 {
			t.Errorf("%s: the next session lists %q, %v", name, files, err)
		}
		closeOf(t, next)
		s.log.nextEnd(t)
	}
}

func TestRow086_HugeUpload(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr, func(o *sidecar.Options) { o.Limits.File = 64 << 10 }).ready()
	session := tr.open(client.Options{})
	if err := session.Upload(t.Context(), "small", make([]byte, 64<<10)); err != nil {
		t.Errorf("upload within the limit: %v", err)
	}
	err := session.Upload(t.Context(), "huge", make([]byte, 1<<20))
	if err == nil {
		t.Error("upload over the limit succeeded")
	}
	t.Logf("client is told: %v", err)
	closeOf(t, session)
	s.log.nextEnd(t)
	tr.works()
	if puts := s.metric("rpcpool_worker_restarts_total", "start-failed"); puts > 0 {
		t.Errorf("%v workers failed to start", puts)
	}
}

func TestRow086_DiskFull(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	small := filepath.Join(tempDir(t), "small")
	if err := os.Mkdir(small, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount a small file system (root is needed): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := startServerOn(t, tr, small).ready()
	session := tr.open(client.Options{})
	err := session.Upload(t.Context(), "huge", make([]byte, 4<<20))
	if err == nil {
		t.Error("upload to a full disk succeeded")
	}
	t.Logf("client is told: %v", err)
	closeOf(t, session)
	s.log.nextEnd(t)
	next := tr.open(client.Options{}) // the space is back
	if err := next.Upload(t.Context(), "fits", make([]byte, 512<<10)); err != nil {
		t.Errorf("upload in the next session: %v", err)
	}
	closeOf(t, next)
	s.stop()
}

// Nobody but the door may decide that a client is gone: a worker that answers a
// call while the client has only ended its sending side is not disturbed within
// the grace.
func TestRow083_HalfClosedClientGetsItsReply(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	s := startServer(t, tr, func(o *sidecar.Options) { o.KillGrace = 5 * time.Second }).ready()
	_, ticket := tr.ticket()
	r := dialRaw(t, s.addr)
	r.session("client:" + ticket)
	found, err := r.values(tvm.Syscall{Code: tvm.RPCGetGlobalFunc, Args: []tvm.Value{tvm.Str("test.sleep")}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := tvm.AppendPacket(nil, r.flavour, tvm.CallFunc{Handle: found[0].Handle, Args: []tvm.Value{tvm.Float(0.3)}})
	if err != nil {
		t.Fatal(err)
	}
	r.send(b)
	if err := r.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	reply, err := r.reply()
	if _, ok := reply.(tvm.Return); err != nil || !ok {
		t.Errorf("reply %#v, %v", reply, err)
	}
	if e := s.log.nextEnd(t); e.cause != "completed" {
		t.Errorf("recorded %s: %s", e.cause, e.how)
	}
}
