package agent

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rpcpool.dev/sidecar/supervise"
)

// seqpacketPair makes a connected pair of the agent protocol's connections.
func seqpacketPair(t *testing.T) (agent, sidecar *supervise.Conn) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*supervise.Conn
	for i, fd := range pair {
		file := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(file)
		_ = file.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = supervise.NewConn(c.(*net.UnixConn))
		t.Cleanup(func() { _ = conns[i].Close() })
	}
	return conns[0], conns[1]
}

func TestLinkSendsInOrderAndFinishes(t *testing.T) {
	ours, theirs := seqpacketPair(t)
	l := newLink(ours)
	for i := range 5 {
		l.push(supervise.Event{Kind: supervise.EventReady, Worker: fmt.Sprint(i)}, -1)
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		if err := l.write(); err != nil {
			t.Error(err)
		}
	})
	l.finish(patience)
	writer.Wait()
	for i := range 5 {
		var e supervise.Event
		if _, err := theirs.Receive(&e); err != nil || e.Worker != fmt.Sprint(i) {
			t.Fatalf("event %d: %+v, %v", i, e, err)
		}
	}
	if _, err := theirs.Receive(&supervise.Event{}); err == nil {
		t.Error("the connection is open")
	}
	l.push(supervise.Event{}, -1) // too late, and harmless
	if l.close(); len(l.queue) != 0 {
		t.Errorf("queue after the end: %v", l.queue)
	}
}

func TestLinkThatNobodyReadsEnds(t *testing.T) {
	ours, _ := seqpacketPair(t)
	l := newLink(ours)
	done := make(chan error, 1)
	go func() { done <- l.write() }()
	big := []byte(strings.Repeat("x", supervise.StderrTail))
	const events = 30
	for i := range events {
		l.push(supervise.Event{Worker: fmt.Sprint(i), Report: &supervise.Report{Output: big}}, -1)
	}
	l.finish(20 * time.Millisecond)
	if err := <-done; err == nil {
		t.Error("the writer ended without an error, though its connection was closed under it")
	}
	ours2, _ := seqpacketPair(t)
	blocked := newLink(ours2)
	for range maxBacklog {
		blocked.push(supervise.Event{Kind: supervise.EventExited}, -1)
	}
	taken := make(chan bool, 1)
	go func() { taken <- blocked.room() }()
	blocked.close()
	if <-taken {
		t.Error("a closed link takes commands")
	}
}

func TestLinkStopsTakingCommandsFromOneWhoDoesNotListen(t *testing.T) {
	ours, theirs := seqpacketPair(t)
	l := newLink(ours)
	for range maxBacklog {
		l.push(supervise.Event{Kind: supervise.EventReady}, -1)
	}
	if err := theirs.Send(supervise.Command{Op: supervise.OpKill, Worker: "w"}, -1); err != nil {
		t.Fatal(err)
	}
	got := make(chan supervise.Command, 1)
	var both sync.WaitGroup
	both.Go(func() {
		_ = l.read(func(c supervise.Command, _ int) { got <- c }, func(error) {})
	})
	select {
	case <-got:
		t.Error("a command was taken although the backlog is full")
	case <-time.After(50 * time.Millisecond):
	}
	both.Go(func() { _ = l.write() })
	for range maxBacklog {
		if _, err := theirs.Receive(&supervise.Event{}); err != nil {
			t.Fatal(err)
		}
	}
	if c := <-got; c.Worker != "w" {
		t.Errorf("got %+v", c)
	}
	l.close()
	both.Wait()
}

// A connection that is closed with events unread is reset; what the sidecar said
// before that is not lost.
func TestWhatASidecarSaidBeforeItClosedCounts(t *testing.T) {
	ours, theirs := seqpacketPair(t)
	l := newLink(ours)
	if err := ours.Send(supervise.Event{Kind: supervise.EventReady}, -1); err != nil { // unread
		t.Fatal(err)
	}
	for seq := range uint64(3) {
		if err := theirs.Send(supervise.Command{Op: supervise.OpAck, Seq: seq + 1}, -1); err != nil {
			t.Fatal(err)
		}
	}
	_ = theirs.Close()
	var got []uint64
	if err := l.read(func(c supervise.Command, _ int) { got = append(got, c.Seq) }, func(error) {}); err == nil {
		t.Error("the link has no end")
	}
	if !slices.Equal(got, []uint64{1, 2, 3}) {
		t.Errorf("acknowledged: %v, want all three", got)
	}
}

func TestAPingIsAnswered(t *testing.T) {
	f := runAgent(t)
	for range 3 {
		f.send(supervise.Command{Op: supervise.OpPing}, -1)
		f.await(supervise.EventPong, "")
	}
}
