package supervise

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func sorted(s []string) []string { slices.Sort(s); return s }

// fakeAgent listens as an agent does and gives the test its end of the one
// connection.
func fakeAgent(t *testing.T) (path string, accept func() *Conn) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return path, func() *Conn {
		c, err := l.AcceptUnix()
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(func() { _ = c.Close() })
		return NewConn(c)
	}
}

func dialFake(t *testing.T, hello any) (*Link, *Conn, error) {
	t.Helper()
	path, accept := fakeAgent(t)
	agents := make(chan *Conn, 1)
	go func() {
		c := accept()
		if hello != nil {
			_ = c.Send(hello, -1)
		}
		agents <- c
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	if hello != nil {
		ctx, cancel = context.WithTimeout(context.Background(), 10*time.Second)
	}
	defer cancel()
	link, err := Dial(ctx, path)
	return link, <-agents, err
}

func TestLinkSaysWhatTheAgentHas(t *testing.T) {
	hello := Hello{Version: ProtocolVersion, PID: 42, Workers: []HelloWorker{{ID: "w-1", Session: &Session{ID: "s"}}}}
	link, agent, err := dialFake(t, Event{Kind: EventHello, Hello: &hello})
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	if got := link.Hello(); got.PID != 42 || len(got.Workers) != 1 || got.Workers[0].Session.ID != "s" {
		t.Errorf("hello = %+v", got)
	}
	_ = agent.Close()
	if _, ok := <-link.Events(); ok {
		t.Error("an event came out of a link that has ended")
	}
}

// An agent that ends with acks unread resets the connection, and the kernel says so before it
// hands out what the agent has sent: how the last workers ended.
func TestWhatAnAgentSaidBeforeItEndedCounts(t *testing.T) {
	path, accept := fakeAgent(t)
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	ours, agent := NewConn(c), accept()
	defer ours.Close()
	if err := ours.Send(Command{Op: OpAck, Seq: 1}, -1); err != nil { // unread
		t.Fatal(err)
	}
	for seq := range uint64(3) {
		if err := agent.Send(Event{Kind: EventExited, Seq: seq + 1}, -1); err != nil {
			t.Fatal(err)
		}
	}
	_ = agent.Close()
	var e Event
	for seq := range uint64(3) {
		if _, err := ours.Receive(&e); err != nil || e.Seq != seq+1 {
			t.Fatalf("event %d: %+v, %v", seq+1, e, err)
		}
	}
	if _, err := ours.Receive(&e); !errors.Is(err, io.EOF) {
		t.Errorf("after the last: %v", err)
	}
}

func TestLinkRefusesWhatIsNoAgent(t *testing.T) {
	cases := map[string]struct {
		hello any
		want  string
	}{
		"another version":         {Event{Kind: EventHello, Hello: &Hello{Version: 99}}, "version 99"},
		"an event first":          {Event{Kind: EventReady}, `first message is "ready"`},
		"a hello without content": {Event{Kind: EventHello}, "not a hello"},
		"not an event":            {[]int{1}, "decode agent message"},
		"silence":                 {nil, "agent at"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, _, err := dialFake(t, tc.hello)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestDialOfAnAgentThatIsNotThere(t *testing.T) {
	_, err := Dial(context.Background(), filepath.Join(t.TempDir(), "none.sock"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want os.ErrNotExist", err)
	}
}

func TestCommandsReachTheAgentWithTheirDescriptor(t *testing.T) {
	link, agent, err := dialFake(t, Event{Kind: EventHello, Hello: &Hello{Version: ProtocolVersion}})
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := link.Start("w-1", Start{Argv: []string{"prog", "arg"}, KillGrace: time.Second}, &Session{ID: "s"}, int(w.Fd())); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	var c Command
	fd, err := agent.Receive(&c)
	if err != nil || fd < 0 {
		t.Fatalf("descriptor %d, error %v", fd, err)
	}
	if c.Op != OpStart || c.Worker != "w-1" || c.Start.Argv[1] != "arg" || c.Start.KillGrace != time.Second || c.Session.ID != "s" {
		t.Errorf("command = %+v", c)
	}
	passed := os.NewFile(uintptr(fd), "passed")
	if _, err := passed.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	_ = passed.Close()
	if got, _ := io.ReadAll(r); string(got) != "hello" {
		t.Errorf("through the descriptor came %q", got)
	}
	if err := link.Kill("w-1", Kill{Cause: CauseTimeout, Grace: time.Second}); err != nil {
		t.Fatal(err)
	}
	if fd, err := agent.Receive(&c); err != nil || fd != -1 || c.Op != OpKill || c.Kill.Cause != CauseTimeout {
		t.Errorf("command = %+v, descriptor %d, error %v", c, fd, err)
	}
}

func TestTheLargestReportFitsAMessage(t *testing.T) {
	link, agent, err := dialFake(t, Event{Kind: EventHello, Hello: &Hello{Version: ProtocolVersion}})
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	sent := make(chan error, 1)
	go func() {
		sent <- agent.Send(Event{Kind: EventExited, Worker: "w", Report: &Report{Output: make([]byte, StderrTail)}}, -1)
	}()
	e := <-link.Events()
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if e.Report == nil || len(e.Report.Output) != StderrTail {
		t.Errorf("event = %v", e.Kind)
	}
	if err := agent.Send(Event{Report: &Report{Output: make([]byte, MaxMessage)}}, -1); err == nil {
		t.Error("a message over the limit was sent")
	}
}
