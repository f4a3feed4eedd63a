package client

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/session"
)

// starve takes all descriptors that this process may have but some. The function that it
// returns gives them back.
func starve(t *testing.T, but int) (feed func()) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 512, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	var taken []int
	feed = func() {
		for _, fd := range taken {
			_ = unix.Close(fd)
		}
		taken = nil
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
	}
	t.Cleanup(feed)
	for {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if errors.Is(err, syscall.EMFILE) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, fd)
	}
	for ; but > 0; but-- {
		_ = unix.Close(taken[len(taken)-1])
		taken = taken[:len(taken)-1]
	}
	return feed
}

// The process has no descriptor for another connection: at its client, or at its server.
func TestC27_DescriptorsRunOut(t *testing.T) {
	h := newHost(t, "a", hostOptions{})
	before := newClient(t, quick(), h.endpoint())
	ask(soon(t), before, "do", "first").is(t, session.OK, session.Executed)

	c := newClient(t, quick(), h.endpoint())
	feed := starve(t, 0)
	u := ask(soon(t), c, "do", "dial")
	ask(soon(t), before, "do", "goes on").is(t, session.OK, session.Executed)
	feed()
	u.is(t, session.NoServer, session.NotExecuted)
	if !strings.Contains(u.Text, "too many open files") {
		t.Errorf("text is %q", u.Text)
	}
	eventually(t, "it connects when it can", func() bool {
		return ask(soon(t), c, "do", "dialled").Outcome.Code == session.OK
	})

	d := newClient(t, quick(), h.endpoint())
	state := func() conn.State { s, _ := d.service.FrontEnds()[0].State(); return s }
	feed = starve(t, 1) // that is the client's
	ended := make(chan *Call, 1)
	go func() { ended <- ask(soon(t), d, "do", "accept") }()
	eventually(t, "the client waits", func() bool {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		_ = unix.Close(fd)
		return state() == conn.Connecting && errors.Is(err, syscall.EMFILE)
	})
	for range 20 { // and its server tries again
		ask(soon(t), before, "do", "goes on").is(t, session.OK, session.Executed)
		time.Sleep(5 * time.Millisecond)
	}
	if s := state(); s != conn.Connecting || h.count("accept") != 0 {
		t.Errorf("without a descriptor: %v", s)
	}
	feed()
	(<-ended).is(t, session.OK, session.Executed)
	if n := h.count("dial") + h.count("accept"); n != 1 {
		t.Errorf("%d runs", n)
	}
}
