package conn

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

// quietSender is a sender into a batch of written bytes, and what it has written.
func quietSender(t *testing.T) (*Conn, stranger) {
	t.Helper()
	s, c := shakeHands(t, handlerFunc(func(Peer, *In) {}), Options{})
	return c, s
}

// TestWhoBringsTheLastOfEnoughWrites: while a writer lets others run, these leave their messages
// to it, until there are so many that the next one writes.
func TestWhoBringsTheLastOfEnoughWrites(t *testing.T) {
	c, s := quietSender(t)
	snd := &c.snd
	snd.mu.Lock()
	snd.active, snd.turns, snd.yields = true, 7, 7 // somebody has brought the first, and lets others run
	snd.fresh = 1
	snd.mu.Unlock()
	for seq := uint64(2); seq < yieldMost; seq++ {
		if err := c.TrySend(testCall(seq, frame.PriorityNormal, 8)); err != nil {
			t.Fatal(err)
		}
	}
	snd.mu.Lock()
	waits, writes := snd.yields, snd.sent.batches
	snd.mu.Unlock()
	if waits != 7 || writes != 0 {
		t.Fatalf("%d writes before there are enough", writes)
	}
	if err := c.TrySend(testCall(yieldMost, frame.PriorityNormal, 8)); err != nil {
		t.Fatal(err)
	}
	for seq := uint64(2); seq <= yieldMost; seq++ {
		if f, err := s.next(); err != nil || f.Seq != seq {
			t.Fatalf("message %d: %+v, %v", seq, f, err)
		}
	}
	snd.mu.Lock()
	defer snd.mu.Unlock()
	if snd.yields != 0 || snd.active || snd.sent.batches != 1 {
		t.Errorf("taken over: %t, active: %t, %d writes", snd.yields == 0, snd.active, snd.sent.batches)
	}
}

// TestWhatIsDroppedIsLetGoOfAlthoughTheWriterGoesOn: its caller waits for its memory, and others may have enough to send
// to keep the writer at work for long.
func TestWhatIsDroppedIsLetGoOfAlthoughTheWriterGoesOn(t *testing.T) {
	c, _ := quietSender(t)
	snd, memory := &c.snd, make(releases, 1)
	long := testCall(1, frame.PriorityNormal, 2*frame.MessageAllowance)
	long.Owner = memory
	if err := c.TrySend(long); err != nil {
		t.Fatal(err)
	}
	<-snd.drained() // the rest waits for the peer
	snd.mu.Lock()
	snd.active = true
	snd.mu.Unlock()
	if unsent, cut := c.Drop(1); unsent || !cut {
		t.Fatal("it is not cut")
	}
	if err := c.TrySend(testCall(2, frame.PriorityNormal, 8)); err != nil {
		t.Fatal(err)
	}
	more := snd.gather(false)
	if !more || len(memory) != 1 {
		t.Errorf("the writer goes on: %t; %d messages are let go of", more, len(memory))
	}
	snd.write(false, false)
}

// releases counts those of memory.
type releases chan struct{}

func (r releases) Release() { r <- struct{}{} }

// TestAWriterKnowsThatItWasRelieved although the next one lets others run by then.
func TestAWriterKnowsThatItWasRelieved(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(*sender)
		writes    bool
	}{
		"nobody came":                    {func(*sender) {}, true},
		"another has taken over":         {func(s *sender) { s.yields = 0 }, false},
		"and a third is about to write":  {func(s *sender) { s.turns++; s.yields = s.turns }, false},
		"a message came, but not enough": {func(s *sender) { s.fresh++ }, true},
	} {
		t.Run(name, func(t *testing.T) {
			var s sender
			s.burst.Store(2)
			s.letRun = func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				c.meanwhile(&s)
			}
			if got := s.yield(); got != c.writes {
				t.Errorf("it is to write: %t", got)
			}
		})
	}
}

// TestS1_27_WhatDoesNotFitIsSentByAGoroutineThatEnds: a message that is much longer than the socket takes returns to
// its caller although the peer reads nothing; one goroutine has the rest, also of what others send meanwhile, and
// is gone when that is sent.
func TestS1_27_WhatDoesNotFitIsSentByAGoroutineThatEnds(t *testing.T) {
	const size = 256 << 20
	a, b := sockets(t, "unix")
	if err := a.(*net.UnixConn).SetWriteBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	go func() { // a server that shakes hands, lets a connection send all that it likes, and does not read yet
		_, _ = readHalf(b, frame.TypeHello)
		ack := admitAll(&frame.Hello{MaxVersion: 1})
		ack.Limits = frame.Limits{MaxFrame: 1 << 20, MaxMessage: 1 << 30, Window: 1 << 30}
		_ = writeHalf(b, frame.TypeHelloAck, ack.Append(nil))
	}()
	c, err := Connect(t.Context(), a, frame.Hello{}, newCaller(), Options{MaxQueue: 1 << 30, Write: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	body := make([]byte, size)
	for seq := range uint64(10) {
		m := testCall(seq+1, frame.PriorityNormal, 100)
		if seq == 0 {
			m.Body = body
		}
		if err := c.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	c.snd.mu.Lock()
	active := c.snd.active
	c.snd.mu.Unlock()
	if n := runtime.NumGoroutine() - before; n > 1 || !active {
		t.Errorf("%d goroutines have what was not taken, or nobody: %t", n, !active)
	}
	if _, err := b.Write(frame.Append(nil, &frame.Header{Type: frame.TypeCredit, Seq: 1}, nil, frame.Credit(size).Append(nil))); err != nil {
		t.Fatal(err)
	}
	if n, err := io.CopyN(io.Discard, b, size); err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	go func() { _, _ = io.Copy(io.Discard, b) }()
	idle := func() bool {
		c.snd.mu.Lock()
		defer c.snd.mu.Unlock()
		return !c.snd.active && c.snd.q.empty()
	}
	for begin := time.Now(); !idle() || runtime.NumGoroutine() > before+1; time.Sleep(time.Millisecond) { // the one above reads
		if time.Since(begin) > patience {
			t.Fatalf("idle: %t, %d goroutines, there were %d", idle(), runtime.NumGoroutine(), before)
		}
	}
	_ = c.Close()
	<-c.Done()
	_ = b.Close()
}
