package worker

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPulseThatNobodyWantsIsFree(t *testing.T) {
	var p *pulse
	if n := testing.AllocsPerRun(100, func() {
		p.beat()
		p.extend(time.Second)
		p.wait(0, 0)
		p.section("run", time.Time{})()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	s := &socket{}
	if p.conn(s) != s {
		t.Error("the connection is not the socket itself")
	}
}

// TestHeartbeatsWhileAClientDoesNotRead: a worker with a large reply to a slow
// client hangs for the client's sake, and says so.
func TestHeartbeatsWhileAClientDoesNotRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", "20000")
	p := newPulse()
	defer p.n.Close()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn := p.conn(&socket{fd: fds[0]}).(*pulsing)
	head, data := []byte("head"), bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
	sent := make(chan error, 1)
	go func() {
		err := conn.WriteVector(head, data)
		if err == nil {
			_, err = conn.Write(data)
		}
		conn.Close()
		sent <- err
	}()
	_ = l.SetReadDeadline(time.Now().Add(time.Minute))
	for range 5 {
		if _, err := l.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	l.Close() // nobody listens any more: that is no error
	client := os.NewFile(uintptr(fds[1]), "client")
	defer client.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(client); err != nil {
		t.Error(err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if want := append(append(head, data...), data...); !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes came, want %d, or others", got.Len(), len(want))
	}
	if n, err := conn.Write([]byte("x")); n != 0 || err == nil {
		t.Errorf("write to a closed connection: %d, %v", n, err)
	}
}
