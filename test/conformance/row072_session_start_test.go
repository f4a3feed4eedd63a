//go:build linux

package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/sidecar"
	"rpcpool.dev/tvm"
	"rpcpool.dev/workers/go/client"
)

func TestRow072_DirectMode(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil).ready()
	first := dialRaw(t, s.addr)
	first.session("client:" + key)

	second, gaveUp := dialRaw(t, s.addr), dialRaw(t, s.addr)
	second.send(hello("client:" + key))
	gaveUp.send(hello("client:" + key))
	closeOf(t, gaveUp)
	_ = second.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if a, err := second.answer(); err == nil {
		t.Fatalf("second client was answered %#x during the first one's session", a.Code)
	}
	if a := dialRaw(t, s.addr).shake("client:other"); a.Code != tvm.HandshakeMismatch {
		t.Errorf("another device key is answered %#x, want MISMATCH", a.Code)
	}
	first.bye()
	_ = second.SetReadDeadline(time.Now().Add(patience))
	if a, err := second.answer(); err != nil || a.Code != tvm.HandshakeSuccess {
		t.Fatalf("second client, when the first has ended: answer %#x, %v", a.Code, err)
	}
	if err := second.start(); err != nil {
		t.Errorf("second session: %v", err)
	}
	second.bye()
	third := dialRaw(t, s.addr) // the one that gave up is not in the way
	third.session("client:" + key)
	third.bye()
}

func TestRow073_NothingBeyondTheKeyIsConsumed(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	for name, adjust := range map[string]func(*sidecar.Options){"warm": func(*sidecar.Options) {}, "cold": cold} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, tr, adjust).ready()
			_, ticket := tr.ticket()
			r := dialRaw(t, s.addr)
			// Key, kInitServer and the first request in one segment.
			lookup, err := tvm.AppendPacket(nil, tvm.FlavourC, tvm.Syscall{Code: tvm.RPCGetGlobalFunc, Args: []tvm.Value{tvm.Str("test.addone")}})
			if err != nil {
				t.Fatal(err)
			}
			r.send(slices.Concat(hello("client:"+ticket), initPacket, lookup))
			if a, err := r.answer(); err != nil || a.Code != tvm.HandshakeSuccess {
				t.Fatalf("answer %#x, %v", a.Code, err)
			}
			for _, what := range []string{"kInitServer", "kGetGlobalFunc"} {
				if p, err := r.reply(); err != nil {
					t.Fatalf("%s: %v", what, err)
				} else if _, ok := p.(tvm.Return); !ok {
					t.Fatalf("%s: answer %#v", what, p)
				}
			}
			r.bye()
			s.stop()
		})
	}
}

// socketFD returns which descriptor of a process is the server's end of a
// client's connection, and its flags (open(2), octal in /proc).
func socketFD(t *testing.T, pid int, s *client.Session) (fd string, flags int) {
	t.Helper()
	inode := inodeOf(t, s.NetConn().RemoteAddr().String(), s.NetConn().LocalAddr().String())
	for _, line := range openFDs(pid) {
		number, target, _ := strings.Cut(line, " -> ")
		if target != "socket:["+inode+"]" {
			continue
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, number))
		if err != nil {
			t.Fatal(err)
		}
		for text := range strings.Lines(string(b)) {
			if value, ok := strings.CutPrefix(text, "flags:"); ok {
				if _, err := fmt.Sscanf(strings.TrimSpace(value), "%o", &flags); err != nil {
					t.Fatal(err)
				}
			}
		}
		return number, flags
	}
	t.Fatalf("process %d has no descriptor of socket %s: %q", pid, inode, openFDs(pid))
	return "", 0
}

func TestRow074_OnlyTheSessionIsHandedOver(t *testing.T) {
	t.Parallel()
	const nonBlocking = 0o4000
	for name, adjust := range map[string]func(*sidecar.Options){"warm": func(*sidecar.Options) {}, "cold": cold} {
		t.Run(name, func(t *testing.T) {
			tr := startTracker(t)
			s := startServer(t, tr, adjust).ready()
			session := tr.open(client.Options{})
			pid := pidOf(t, session)
			fd, flags := socketFD(t, pid, session)
			if fd != "3" || flags&nonBlocking != 0 {
				t.Errorf("session is descriptor %s with flags %#o, want 3, blocking", fd, flags)
			}
			// From inside and from outside: 0, 1, 2 and the session.
			inside := strings.Split(fmt.Sprint(call(t, session, "test.fds")), ",")
			slices.Sort(inside)
			if !slices.Equal(inside, []string{"0", "1", "2", "3"}) {
				t.Errorf("test.fds = %q: %q", inside, openFDs(pid))
			}
			// What else there is the Go runtime opened for itself.
			for _, fd := range openFDs(pid) {
				if number, target, _ := strings.Cut(fd, " -> "); number > "3" && strings.HasPrefix(target, "socket:") {
					t.Errorf("worker has another socket: %q", openFDs(pid))
				}
			}
			closeOf(t, session)
			s.stop()
		})
	}
}

func TestRow074_NothingIsInherited(t *testing.T) {
	t.Parallel()
	// Before the Go runtime of the worker has opened or closed anything, a shell
	// in its place looks at what it was given.
	list := filepath.Join(tempDir(t), "fds")
	for name, adjust := range map[string]func(*sidecar.Options){"warm": func(*sidecar.Options) {}, "cold": cold} {
		t.Run(name, func(t *testing.T) {
			tr := startTracker(t)
			s := startServer(t, tr, adjust, func(o *sidecar.Options) {
				o.Command = []string{"/bin/sh", "-c", `l=; for f in /proc/$$/fd/*; do [ -e "$f" ] && l="$l ${f##*/}"; done; echo $l > ` + list + `; exec "$0" "$@"`, workerPath}
			}).ready()
			tr.works()
			s.stop()
			b, err := os.ReadFile(list)
			if err != nil {
				t.Fatal(err)
			}
			if fds := strings.TrimSpace(string(b)); fds != "0 1 2 3" {
				t.Errorf("worker was started with descriptors %s, want 0 to 3", fds)
			}
		})
	}
}

func TestRow075_RefusalSendsTheClientOn(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	sick := filepath.Join(tempDir(t), "sick")
	broken := startServer(t, tr, command("-dead-if", sick)).ready()
	if err := os.WriteFile(sick, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := startServer(t, tr).ready()
	// Oldest offer first: the client is given the broken device, and must end on
	// the good one by asking again.
	session := tr.open(client.Options{})
	if session.Server() != good.addr {
		t.Errorf("session is on %s, want the good server %s", session.Server(), good.addr)
	}
	checkAddOne(t, session)
	if e := broken.log.nextEnd(t); e.cause != "crash-exit" {
		t.Errorf("broken server records %s (%s), want crash-exit", e.cause, e.how)
	}
	if puts := good.metric("rpcpool_handshakes_total", "accepted"); puts != 1 {
		t.Errorf("good server accepted %v handshakes, want 1", puts)
	}
}

func TestRow076_InitServerPolicy(t *testing.T) {
	t.Parallel()
	tr := startTracker(t)
	for _, flavour := range []tvm.Flavour{tvm.FlavourA, tvm.FlavourC} {
		t.Run("flavour "+flavour.String(), func(t *testing.T) {
			s := startServer(t, tr, command("-flavour", flavour.String())).ready()
			for name, c := range map[string]struct {
				init tvm.InitServer
				says string
			}{
				"version":     {tvm.InitServer{Version: "0.7.0"}, "0.7.0"},
				"constructor": {tvm.InitServer{Version: tvm.ProtocolVersion, Args: []tvm.Value{tvm.Str("rpc.Connect"), tvm.Str("10.0.0.1"), tvm.Int(9090)}}, "constructor"},
			} {
				_, ticket := tr.ticket()
				r := dialRaw(t, s.addr)
				r.flavour = flavour
				if a := r.shake("client:" + ticket); a.Code != tvm.HandshakeSuccess {
					t.Fatalf("answer %#x", a.Code)
				}
				reply, err := r.packet(c.init)
				refused, ok := reply.(tvm.Exception)
				if err != nil || !ok || !strings.Contains(refused.Text, c.says) {
					t.Errorf("%s: answer %#v, %v; want an exception about %q", name, reply, err, c.says)
				}
				t.Logf("%s: %s", name, refused.Text)
				if more := r.rest(); len(more) > 0 {
					t.Errorf("%s: % x after the exception, want a close", name, more)
				}
				if e := s.log.nextEnd(t); e.cause != "protocol-error" {
					t.Errorf("%s: recorded as %s (%s)", name, e.cause, e.how)
				}
			}
			tr.works()
			s.stop()
		})
	}
	t.Run("a stock client's view", func(t *testing.T) {
		startServer(t, tr).ready()
		o := client.Options{MaxRetry: 2, InitArgs: []tvm.Value{tvm.Str("rpc.PopenSession"), tvm.Bytes([]byte("x"))}}
		_, err := client.Request(t.Context(), tr.addr, key, o)
		var remote *client.RemoteError
		if !errors.As(err, &remote) {
			t.Errorf("error %v, want the server's reason", err)
		}
	})
}
