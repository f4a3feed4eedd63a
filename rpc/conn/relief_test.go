package conn

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

// task is what a reader does last, or somebody else.
type task struct {
	run    func()
	passed *atomic.Int32
}

func (t *task) Run() { t.run() }

func (t *task) Pass() {
	t.passed.Add(1)
	go t.run()
}

// lastly answers all calls last of all. Those that say "wait" wait for the next that says
// "go on"; those that say "exit" answer and end their goroutine.
type lastly struct {
	goOn   chan struct{}
	waits  chan struct{} // has an element when one waits
	passed atomic.Int32
	ran    atomic.Int32 // by readers
}

func (l *lastly) Message(p Peer, in *In) {
	if in.Type != frame.TypeCall {
		return
	}
	kept := in.Keep()
	what := string(kept.Body)
	t := &task{passed: &l.passed, run: func() {
		switch what {
		case "wait":
			l.waits <- struct{}{}
			<-l.goOn
		case "go on":
			l.goOn <- struct{}{}
		}
		_ = p.Send(context.Background(), answerTo(kept, kept))
		if what == "exit" {
			runtime.Goexit()
		}
	}}
	if c, ok := p.(*Conn); ok && c.Last(t) {
		l.ran.Add(1)
		return
	}
	go t.run()
}

func (*lastly) Closed(Peer, error, []uint64) {}

// TestAReaderThatIsAwayIsRelieved has calls that end only when another has come, which the
// same reader would have to read; and calls that end their goroutine.
func TestAReaderThatIsAwayIsRelieved(t *testing.T) {
	a, b := sockets(t, "unix")
	l := &lastly{goOn: make(chan struct{}), waits: make(chan struct{}, 1)}
	client := newCaller()
	c, _ := join(t, a, b, client, l, Options{})
	call := func(what string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if got, err := client.call(ctx, c, frame.PriorityNormal, []byte(what)); err != nil || string(got) != what {
			t.Errorf("%q: %q, %v", what, got, err)
		}
	}
	for range 50 {
		waited := make(chan struct{})
		go func() {
			defer close(waited)
			call("wait")
		}()
		<-l.waits // or both would come at once
		call("quick")
		call("go on")
		<-waited
		call("exit")
		call("quick")
	}
	if n := l.ran.Load(); n < 100 {
		t.Errorf("readers ran %d of 250 calls", n)
	}
}

// TestAnEndDoesNotWaitForAReaderThatIsAway ends a connection whose reader runs something.
func TestAnEndDoesNotWaitForAReaderThatIsAway(t *testing.T) {
	l := &lastly{goOn: make(chan struct{}), waits: make(chan struct{}, 1)}
	s, c := shakeHands(t, l, Options{})
	s.send(frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 1}, frame.Ext{}, []byte("wait"))
	<-l.waits
	_ = s.nc.Close()
	select {
	case <-c.Done():
	case <-time.After(patience):
		t.Error("the connection does not end")
	}
	l.goOn <- struct{}{}
}

// TestOfSeveralMessagesNoneIsRunByTheReader: others may run them at the same time.
func TestOfSeveralMessagesNoneIsRunByTheReader(t *testing.T) {
	l := &lastly{goOn: make(chan struct{}), waits: make(chan struct{}, 1)}
	s, _ := shakeHands(t, l, Options{})
	var both []byte
	for seq := range uint64(2) {
		both = frame.Append(both, &frame.Header{Type: frame.TypeCall, Priority: 2, Seq: seq + 1}, nil, []byte{'x'})
	}
	if _, err := s.nc.Write(both); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if f, err := s.next(); err != nil || f.Type != frame.TypeReply {
			t.Fatalf("%+v, %v", f, err)
		}
	}
	if l.ran.Load() != 1 || l.passed.Load() != 1 {
		t.Errorf("%d were taken by the reader, %d of them passed on", l.ran.Load(), l.passed.Load())
	}
}
