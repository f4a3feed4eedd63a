package conn

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

// hoard keeps what arrives.
type hoard chan *In

func (h hoard) Message(_ Peer, in *In)       { h <- in.Keep() }
func (h hoard) Closed(Peer, error, []uint64) {}

// TestConnectionsShareTheRoomForLongMessages: a long message of one client waits for that of
// another, or for its end.
func TestConnectionsShareTheRoomForLongMessages(t *testing.T) {
	const long = 1 << 20
	room := NewRoom(long)
	opts := Options{MaxMessage: long, Room: room}
	kept := make(hoard, 3)
	client := func() (c, s *Conn) {
		a, b := sockets(t, "unix")
		return join(t, a, b, newCaller(), kept, opts)
	}
	send := func(c *Conn) {
		t.Helper()
		if err := c.Send(t.Context(), &Message{Header: frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 1}, Body: make([]byte, long)}); err != nil {
			t.Fatal(err)
		}
	}
	waiting := func(want int) {
		t.Helper()
		for until := time.Now().Add(patience); ; runtime.Gosched() {
			room.mu.Lock()
			n := len(room.waiting)
			room.mu.Unlock()
			if n == want {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("%d connections wait for room, want %d", n, want)
			}
		}
	}
	first, _ := client()
	second, server := client()
	third, _ := client()
	send(first)
	one := <-kept
	send(second)
	waiting(1)
	send(third)
	waiting(2)
	_ = second.Close()
	<-server.Done()
	waiting(1) // the third
	one.Release()
	two := <-kept
	if len(two.Body) != long || len(kept) > 0 {
		t.Errorf("%d bytes have come, and %d messages behind them", len(two.Body), len(kept))
	}
	two.Release()
	room.mu.Lock()
	defer room.mu.Unlock()
	if room.free != long {
		t.Errorf("%d of %d bytes are free at the end", room.free, long)
	}
}

// TestRoomOfMessagesThatNeverEndIsGivenBack when their connection ends.
func TestRoomOfMessagesThatNeverEndIsGivenBack(t *testing.T) {
	room := NewRoom(1 << 20)
	a, b := sockets(t, "unix")
	c, s := join(t, a, b, newCaller(), &echo{}, Options{MaxMessage: 1 << 20, Room: room})
	h := frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 1, Flags: frame.FlagMore}
	if _, err := c.nc.Write(frame.Append(nil, &h, (&frame.Ext{MessageLen: 1 << 20}).Append(nil), []byte("x"))); err != nil {
		t.Fatal(err)
	}
	free := func() int {
		room.mu.Lock()
		defer room.mu.Unlock()
		return room.free
	}
	for until := time.Now().Add(patience); free() > 0; runtime.Gosched() {
		if time.Now().After(until) {
			t.Fatal("the message has got no room")
		}
	}
	_ = c.nc.Close()
	<-s.Done()
	if n := free(); n != 1<<20 {
		t.Errorf("%d bytes are free", n)
	}
}

// TestWhoIsBehindOneThatNeedsNoRoomWaitsOn: a message that is complete before there is room for it leaves its turn to
// the next of its connection.
func TestWhoIsBehindOneThatNeedsNoRoomWaitsOn(t *testing.T) {
	const long, short = 1 << 20, 64 << 10
	room := NewRoom(long)
	opts := Options{MaxMessage: long, Room: room}
	kept := make(hoard, 2)
	c1, s1 := sockets(t, "unix")
	first, _ := join(t, c1, s1, newCaller(), kept, opts)
	if err := first.Send(t.Context(), &Message{Header: frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 1}, Body: make([]byte, long)}); err != nil {
		t.Fatal(err)
	}
	one := <-kept
	c2, s2 := sockets(t, "unix")
	second, _ := join(t, c2, s2, newCaller(), kept, opts)
	begin := func(seq, total uint64) []byte {
		h := frame.Header{Type: frame.TypeCall, Priority: 2, Seq: seq, Flags: frame.FlagMore}
		return frame.Append(nil, &h, (&frame.Ext{MessageLen: total}).Append(nil), make([]byte, short/2))
	}
	rest := frame.Append(nil, &frame.Header{Type: frame.TypeChunk, Priority: 2, Seq: 1}, nil, make([]byte, short/2))
	if _, err := second.nc.Write(slices.Concat(begin(1, short), begin(2, long), rest)); err != nil {
		t.Fatal(err)
	}
	if in := <-kept; len(in.Body) != short { // which its handler has for long
		t.Fatalf("%d bytes have come", len(in.Body))
	}
	one.Release()
	for until := time.Now().Add(patience); ; runtime.Gosched() {
		room.mu.Lock()
		free := room.free
		room.mu.Unlock()
		if free == 0 {
			return
		}
		if time.Now().After(until) {
			t.Fatal("all the room is free, and a message waits for it")
		}
	}
}

// TestWhoDoesNotWaitForRoomHasWhatNobodyWaitsFor: what it gives back is for those who do.
func TestWhoDoesNotWaitForRoomHasWhatNobodyWaitsFor(t *testing.T) {
	const long = 1 << 20
	room := NewRoom(long)
	if room.Wanted() || room.Free() != long {
		t.Fatalf("%d bytes are free, wanted: %t", room.Free(), room.Wanted())
	}
	if !room.Spare(long/2+1) || room.Spare(1) { // which takes memory of the next power of two
		t.Errorf("%d bytes are free", room.Free())
	}
	kept := make(hoard, 1)
	a, b := sockets(t, "unix")
	c, _ := join(t, a, b, newCaller(), kept, Options{MaxMessage: long, Room: room})
	if err := c.Send(t.Context(), &Message{Header: frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 1}, Body: make([]byte, long/2)}); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(patience); !room.Wanted() || room.first() == nil; runtime.Gosched() {
		if time.Now().After(until) {
			t.Fatal("nobody waits")
		}
	}
	room.Owe(100)
	if room.Free() != -1<<minClass {
		t.Errorf("%d bytes are free", room.Free())
	}
	room.Put(long/2 + 1)
	in := <-kept
	if room.Put(100); room.Free() != long/2 || !room.Spare(1) {
		t.Errorf("%d bytes are free", room.Free())
	}
	in.Release()
	if room.Put(1); room.Free() != long || room.Wanted() {
		t.Errorf("%d bytes are free in the end", room.Free())
	}
}

func TestRoomForLessThanTheLongestMessageIsRefused(t *testing.T) {
	if _, err := (Options{Room: NewRoom(DefaultMaxMessage - 1)}).withDefaults(); err == nil {
		t.Error("a message could wait for ever")
	}
}
