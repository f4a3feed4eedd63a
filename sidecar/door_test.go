package sidecar

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/internal/tcp"
	"rpcpool.dev/tvm"
)

// testDoor is a door whose admitted clients the test takes.
type testDoor struct {
	*door
	mu      sync.Mutex
	results map[handshakeResult]int
	in      chan admitted
	lostN   chan struct{}
}

func startDoor(t *testing.T, change func(*door)) *testDoor {
	t.Helper()
	listener, err := tcp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &testDoor{results: map[handshakeResult]int{}, in: make(chan admitted, 16), lostN: make(chan struct{}, 16)}
	d.door = &door{
		listener: listener, key: "dev", timeout: patience, tickets: newTickets(), log: quiet(),
		admit: func(a admitted) { d.in <- a }, lost: func() { d.lostN <- struct{}{} },
		count: func(r handshakeResult) { d.mu.Lock(); d.results[r]++; d.mu.Unlock() },
	}
	if change != nil {
		change(d.door)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := d.serve(ctx); err != nil {
			t.Errorf("door: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
		close(d.in)
		for a := range d.in {
			_ = a.conn.Close()
		}
	})
	return d
}

func (d *testDoor) dial(t *testing.T) *client {
	t.Helper()
	c, err := net.Dial("tcp", d.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return &client{TCPConn: c.(*net.TCPConn), t: t}
}

func (d *testDoor) counted(r handshakeResult) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.results[r]
}

func rawHello(keyLen int32, key string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(tvm.Magic))
	b = binary.LittleEndian.AppendUint32(b, uint32(keyLen))
	return append(b, key...)
}

func TestDoorAnswers(t *testing.T) {
	mismatch := string(tvm.AppendMismatch(nil))
	long := string(make([]byte, 5000))
	cases := map[string]struct {
		bytes  []byte
		want   string
		result handshakeResult
	}{
		"a wrong ticket":                 {tvm.AppendClientHello(nil, "dev:2", 0), mismatch, handshakeMismatch},
		"the ticket and more":            {tvm.AppendClientHello(nil, "dev:11", 0), mismatch, handshakeMismatch},
		"the ticket's beginning":         {tvm.AppendClientHello(nil, "dev:", 0), mismatch, handshakeMismatch},
		"a server's key":                 {rawHello(12, "server:dev:1"), mismatch, handshakeMismatch},
		"blanks":                         {rawHello(3, "   "), mismatch, handshakeMismatch},
		"bytes that are not text":        {rawHello(4, "\xff\xfe:1"), mismatch, handshakeMismatch},
		"HTTP":                           {[]byte("GET / HTTP/1.1\r\n\r\n"), "", handshakeBadMagic},
		"the tracker's magic, and waits": {tvm.AppendTrackerMagic(nil), "", handshakeBadMagic},
		"a key of no length":             {rawHello(0, ""), "", handshakeBadKey},
		"a key of negative length":       {rawHello(-1, ""), "", handshakeBadKey},
		"a key of 2 GiB":                 {rawHello(0x7fffffff, "x"), "", handshakeBadKey},
		"a key of 5000 bytes":            {rawHello(5000, long), "", handshakeBadKey},
	}
	d := startDoor(t, nil)
	d.tickets.Open("dev:1")
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := d.counted(tc.result)
			c := d.dial(t)
			c.write(tc.bytes)
			got := make([]byte, 16)
			n := 0
			for {
				m, err := c.Read(got[n:])
				n += m
				if err != nil {
					break // EOF, or a reset where unread bytes were left behind
				}
			}
			if string(got[:n]) != tc.want {
				t.Errorf("answer % x, want % x", got[:n], tc.want)
			}
			eventually(t, "it is counted", func() bool { return d.counted(tc.result) == before+1 })
		})
	}
	c := d.dial(t)
	c.handshake("dev:1", 0) // after all that the ticket is still good
	if a := <-d.in; a.hello.MatchKey != "dev:1" {
		t.Errorf("admitted %+v", a)
	} else {
		_ = a.conn.Close()
	}
}

func TestDoorReadsNotAByteOfTheSession(t *testing.T) {
	d := startDoor(t, nil)
	d.tickets.Open("dev:1")
	c := d.dial(t)
	c.write(append(tvm.AppendClientHello(nil, "dev:1", 0), "session"...))
	a := <-d.in
	defer a.conn.Close()
	got := make([]byte, 7)
	if _, err := a.conn.Read(got); err != nil || string(got) != "session" {
		t.Errorf("the session begins with %q, error %v", got, err)
	}
}

func TestASilentClientIsDroppedAtTheDeadlineAndDelaysNobody(t *testing.T) {
	for _, sent := range []int{0, 2, 4, 6, 8, 12} {
		d := startDoor(t, func(d *door) { d.timeout = 100 * time.Millisecond })
		d.tickets.Open("dev:1")
		silent := d.dial(t)
		silent.write(rawHello(27, "client:dev:1")[:sent])
		c := d.dial(t)
		c.handshake("dev:1", 0)
		_ = (<-d.in).conn.Close()
		if got := silent.rest(); len(got) != 0 {
			t.Errorf("after %d bytes: answered % x", sent, got)
		}
		eventually(t, "the deadline is counted", func() bool { return d.counted(handshakeTimeout) == 1 })
	}
}

func TestPortScansLeaveTheTicketAlone(t *testing.T) {
	d := startDoor(t, nil)
	d.tickets.Open("dev:1")
	for range 50 {
		_ = d.dial(t).Close()
	}
	eventually(t, "all are counted", func() bool { return d.counted(handshakeClosed) == 50 })
	d.dial(t).handshake("dev:1", 0)
	_ = (<-d.in).conn.Close()
}

func TestTooManyHandshakesDropTheOldest(t *testing.T) {
	d := &door{}
	var ends []net.Conn
	first, far := net.Pipe()
	ends = append(ends, far)
	d.enter(first)
	for range maxHandshakes {
		near, far := net.Pipe()
		ends = append(ends, near, far)
		d.enter(near)
	}
	if _, err := first.Write([]byte{1}); !errors.Is(err, net.ErrClosed) && err == nil {
		t.Error("the oldest handshake is still open")
	}
	if d.open.Len() != maxHandshakes {
		t.Errorf("%d handshakes in progress", d.open.Len())
	}
	d.closeAll()
	for _, c := range ends {
		_ = c.Close()
	}
}

func TestWithoutATrackerClientsAreServedInTurn(t *testing.T) {
	d := startDoor(t, func(d *door) { d.direct = true })
	const clients = 5
	var conns []*client
	for range clients {
		c := d.dial(t)
		c.write(tvm.AppendClientHello(nil, "dev", 0))
		conns = append(conns, c)
	}
	wrong := d.dial(t)
	wrong.write(tvm.AppendClientHello(nil, "other", 0))
	if got := wrong.rest(); string(got) != string(tvm.AppendMismatch(nil)) {
		t.Errorf("another key: answer % x", got)
	}
	for range clients {
		if !d.tickets.Open("dev") {
			t.Fatal("cannot open")
		}
		a := <-d.in
		_ = a.conn.Close()
		d.tickets.Release()
	}
	want := tvm.AppendAccept(nil, "server:dev")
	for _, c := range conns {
		if got := c.read(len(want)); string(got) != string(want) {
			t.Errorf("answer % x", got)
		}
	}
}

func TestWaitingClientsThatLeaveKeepNeitherPlaceNorDescriptor(t *testing.T) {
	d := startDoor(t, func(d *door) { d.direct = true })
	hello := tvm.AppendClientHello(nil, "dev", 0)
	for range 3 { // the first among them
		c := d.dial(t)
		c.write(hello)
		_ = c.Close()
	}
	eventually(t, "all are gone", func() bool { return d.counted(handshakeClosed) == 3 })
	stays := d.dial(t)
	stays.write(hello)
	d.tickets.Open("dev")
	a := <-d.in
	defer a.conn.Close()
	if a.client != stays.LocalAddr().String() {
		t.Errorf("admitted %s, want %s", a.client, stays.LocalAddr())
	}
}

func TestALineServesInOrderAndHasAnEnd(t *testing.T) {
	var l line
	var waiters []*waiter
	for range maxWaiters {
		w, err := l.join()
		if err != nil {
			t.Fatal(err)
		}
		waiters = append(waiters, w)
	}
	if _, err := l.join(); !errors.Is(err, errLineFull) {
		t.Errorf("one too many: %v", err)
	}
	hasTurn := func(w *waiter) bool {
		select {
		case <-w.turn:
			return true
		default:
			return false
		}
	}
	l.leave(waiters[1]) // not the first: nobody's turn changes
	if !hasTurn(waiters[0]) || hasTurn(waiters[2]) {
		t.Error("the turn is not the first one's")
	}
	l.leave(waiters[0])
	if !hasTurn(waiters[2]) || hasTurn(waiters[3]) {
		t.Error("the turn did not go to the next")
	}
}
