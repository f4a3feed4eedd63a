package client

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/session"
)

// stoppedFor is how long the child is stopped: longer than it waits for anything.
const stoppedFor = 2500 * time.Millisecond

func callWhileStopped(addr string) error {
	c, err := New(Options{
		Pool:    conn.PoolOptions{ConnectTimeout: 2 * time.Second, Conn: conn.Options{Handshake: 2 * time.Second}},
		Session: session.ClientOptions{FailoverAfter: 2 * time.Second},
	})
	if err != nil {
		return err
	}
	if err := c.Update([]conn.Endpoint{{ID: "a", TCP: addr}}); err != nil {
		return err
	}
	u := Call{Method: "who"}
	c.Do(context.Background(), &u)
	fmt.Println(u.Outcome.Code, u.Outcome.Execution, string(u.Reply), u.Text)
	return nil
}

// A program is stopped while it connects to its only server, for longer than all its time-outs. The server was there all
// the time, and the program says so.
func TestC27_AClientIsStoppedWhileItConnects(t *testing.T) {
	for name, closed := range map[string]bool{"its server waits": false, "its server has given it up": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy, e := newHost(t, "a", hostOptions{}).behind()
			proxy.Freeze()
			child := runChild(t, "stopped", e.TCP)
			t.Cleanup(child.kill)
			eventually(t, "the child connects", func() bool { return proxy.Taken() == 1 })
			if err := child.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if _, err := syscall.Wait4(child.cmd.Process.Pid, nil, syscall.WUNTRACED, nil); err != nil { // until it is
				t.Fatal(err)
			}
			if closed {
				proxy.Reset()
			}
			proxy.Thaw()
			time.Sleep(stoppedFor) // it is what happens, and is waited for by nobody
			if err := child.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			if out := child.wait(); !strings.HasPrefix(out, "OK Executed a") {
				t.Errorf("it says %q", out)
			}
		})
	}
}
