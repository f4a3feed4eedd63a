package conn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

func TestCallsOfAllSizesComeBackWhole(t *testing.T) {
	for _, c := range []struct {
		name string
		crc  bool
		dial func(t *testing.T) (net.Conn, net.Conn)
	}{
		{"memory", false, func(t *testing.T) (net.Conn, net.Conn) { return sockets(t, "unix") }},
		{"unix", false, func(t *testing.T) (net.Conn, net.Conn) { return sockets(t, "unix") }},
		{"tcp with checksums", true, func(t *testing.T) (net.Conn, net.Conn) { return sockets(t, "tcp") }},
		{"unix whose buffers hold a page", false, func(t *testing.T) (net.Conn, net.Conn) {
			a, b := sockets(t, "unix")
			narrow(t, a, b)
			return a, b
		}},
		{"tcp whose buffers are small", true, func(t *testing.T) (net.Conn, net.Conn) {
			a, b := sockets(t, "tcp")
			narrow(t, a, b)
			return a, b
		}},
		{"no descriptor, a thousand bytes at a time", true, func(t *testing.T) (net.Conn, net.Conn) {
			a, b := sockets(t, "unix")
			return dribble{a, 997}, dribble{b, 1009}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := c.dial(t)
			client := newCaller()
			conn, _ := join(t, a, b, client, &echo{}, Options{Checksum: c.crc, Ring: c.name == "memory"})
			var wg sync.WaitGroup
			for i, size := range []int{0, 1, 64, LongBody - 1, LongBody, 16 << 10, 64 << 10, 64<<10 + 1, 256 << 10, 256<<10 + 1, 1 << 20, 5<<20 + 3} {
				for p := frame.PriorityInteractive; p < frame.Priorities; p++ {
					wg.Go(func() {
						body := bytes.Repeat([]byte{byte(i), byte(p), 7}, size/3+1)[:size]
						got, err := client.call(t.Context(), conn, p, body)
						if err != nil || !bytes.Equal(got, body) {
							t.Errorf("%d bytes: got %d, %v", size, len(got), err)
						}
					})
				}
			}
			wg.Wait()
		})
	}
}

// ordered checks that what arrives is what its senders sent, in their order.
type ordered struct {
	echo
	mu   sync.Mutex
	last map[uint64]uint64 // by sender and priority
	n    int
	done chan struct{}
	want int
	bad  error
}

func (o *ordered) Message(_ Peer, in *In) {
	if in.Type != frame.TypeCall {
		return
	}
	want := testCall(in.Seq, in.Priority, len(in.Body)).Body
	o.mu.Lock()
	defer o.mu.Unlock()
	// The order of a lane is that of first frames, so it holds among messages of
	// one frame.
	if len(in.Body) <= maxChunk {
		key := in.Seq>>32<<8 | uint64(in.Priority)
		if o.last[key] >= in.Seq {
			o.bad = fmt.Errorf("sender %d, priority %d: %d after %d", in.Seq>>32, in.Priority, uint32(in.Seq), uint32(o.last[key]))
		}
		o.last[key] = in.Seq
	}
	if !bytes.Equal(in.Body, want) {
		o.bad = fmt.Errorf("message %x has other bytes than were sent", in.Seq)
	}
	if o.n++; o.n == o.want {
		close(o.done)
	}
}

// TestManySendersKeepTheirOrder is S1.24: nothing is lost, and each sender's
// messages of one priority arrive in order, while long ones are cut among them.
func TestManySendersKeepTheirOrder(t *testing.T) {
	const senders, each = 64, 100
	for _, small := range []bool{false, true} {
		t.Run(fmt.Sprintf("narrow %v", small), func(t *testing.T) {
			a, b := sockets(t, "unix")
			if small {
				narrow(t, a, b)
			}
			server := &ordered{last: map[uint64]uint64{}, done: make(chan struct{}), want: senders * each}
			c, _ := join(t, a, b, newCaller(), server, Options{MaxQueue: 1 << 20})
			for s := range uint64(senders) {
				go func() {
					for i := range uint64(each) {
						size := int(i * 37 % 2000)
						if i%100 == s%100 {
							size = 20000 + int(s)*8000
						}
						if err := c.Send(context.Background(), testCall((s+1)<<32|(i+1), frame.Priority(i%3+1), size)); err != nil {
							t.Error(err)
							return
						}
					}
				}()
			}
			select {
			case <-server.done:
			case <-time.After(patience):
				t.Fatal("messages are lost")
			}
			server.mu.Lock()
			defer server.mu.Unlock()
			if server.bad != nil {
				t.Error(server.bad)
			}
		})
	}
}

// TestACutAnywhereIsKnown is S1.9, as far as a connection goes: three calls, cut
// after every byte. What was told to be unsent has not arrived, and nobody hangs.
func TestACutAnywhereIsKnown(t *testing.T) {
	for _, answer := range []bool{false, true} {
		for after := 0; ; after++ {
			p := &cutter{after: 216 + 8 + after, answer: answer}
			if answer {
				p.after = 8 + 32 + 114 + after
			}
			if cut := cutAt(t, p); !cut {
				break
			}
			if after > 5000 {
				t.Fatal("never came through")
			}
		}
	}
}

// cutAt makes three calls and tells whether any of them was cut.
func cutAt(t *testing.T, p *cutter) bool {
	a, b := p.start(t, "unix")
	client, server := newCaller(), &recorder{closed: make(chan error, 1)}
	accepted := make(chan *Conn, 1)
	go func() {
		s, err := Accept(context.Background(), b, admitAll, server, Options{Linger: 10 * time.Millisecond})
		if err != nil {
			server.closed <- err
		}
		accepted <- s
	}()
	c, err := Connect(context.Background(), a, frame.Hello{}, client, Options{Linger: 10 * time.Millisecond})
	if err != nil {
		<-accepted
		return true
	}
	var wg sync.WaitGroup
	failed := make(chan error, 3)
	for i := range 3 {
		wg.Go(func() {
			body := bytes.Repeat([]byte{byte(i)}, 10*i)
			got, err := client.call(context.Background(), c, frame.PriorityNormal, body)
			if err == nil && !bytes.Equal(got, body) {
				t.Errorf("got % x, want % x", got, body)
			}
			if err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	_ = c.Close()
	<-c.Done()
	if s := <-accepted; s != nil {
		<-s.Done()
	}
	<-server.closed
	for _, seq := range client.unsent {
		if server.seen[seq] {
			t.Errorf("cut after %d bytes: call %d is told to be unsent, and has arrived", p.after, seq)
		}
	}
	return len(failed) > 0
}

// recorder echoes, and remembers what it has seen.
type recorder struct {
	echo
	seen   map[uint64]bool
	closed chan error
}

func (r *recorder) Message(p Peer, in *In) {
	if r.seen == nil {
		r.seen = map[uint64]bool{}
	}
	r.seen[in.Seq] = true
	r.echo.Message(p, in)
}

func (r *recorder) Closed(_ Peer, err error, _ []uint64) { r.closed <- err }

// hoarder keeps everything.
type hoarder struct {
	mu   sync.Mutex
	kept []*In
	got  chan struct{}
}

func (h *hoarder) Message(_ Peer, in *In) {
	if in.Type != frame.TypeCall {
		return
	}
	h.mu.Lock()
	h.kept = append(h.kept, in.Keep())
	h.mu.Unlock()
	h.got <- struct{}{}
}

// release lets go of everything.
func (h *hoarder) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, in := range h.kept {
		in.Release()
	}
	h.kept = nil
}

func (*hoarder) Closed(Peer, error, []uint64) {}

// TestASlowConsumerIsBounded is S1.20: a handler that lets go of nothing gets a
// window, and the sender a full queue. Control passes all the time.
func TestASlowConsumerIsBounded(t *testing.T) {
	a, b := sockets(t, "unix")
	server := &hoarder{got: make(chan struct{}, 1<<16)}
	c, s := join(t, a, b, newCaller(), server, Options{MaxQueue: 64 << 10, Window: frame.MessageAllowance})
	sent := 0
	for ; ; sent++ {
		err := c.TrySend(testCall(uint64(sent+1), frame.PriorityNormal, 1000))
		if errors.Is(err, ErrBackpressure) {
			if _, err := c.Ping(t.Context()); err != nil {
				t.Fatalf("a ping does not pass: %v", err)
			}
			if err = c.TrySend(testCall(uint64(sent+1), frame.PriorityNormal, 1000)); errors.Is(err, ErrBackpressure) {
				break // it was not the writer who was slow
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if sent > 1000 {
			t.Fatal("the queue has no bound")
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no more patience")
	time.AfterFunc(5*time.Millisecond, func() { cancel(why) })
	if err := c.Send(ctx, testCall(1<<20, frame.PriorityNormal, 1000)); !errors.Is(err, why) {
		t.Errorf("waiting ends with %v", err)
	}
	arrived := 0
	for range sent { // the rest comes as messages are let go of
		select {
		case <-server.got:
			arrived++
		case <-time.After(patience):
			t.Fatalf("%d of %d messages have arrived", arrived, sent)
		}
		server.mu.Lock()
		if len(server.kept)*1000 > frame.MessageAllowance {
			t.Errorf("%d messages are kept", len(server.kept))
		}
		if arrived%100 == 0 { // a quarter of a window and more: credit is not given for less
			go server.release()
		}
		server.mu.Unlock()
	}
	server.release()
	if s.rx.room != s.opts.MaxAssembly {
		t.Error("room has leaked")
	}
}

// TestLongMessagesDoNotStopShortOnes lets ten long messages wait for room for
// one.
func TestLongMessagesDoNotStopShortOnes(t *testing.T) {
	a, b := sockets(t, "unix")
	client := newCaller()
	server := &hoarder{got: make(chan struct{}, 64)}
	opts := Options{MaxFrame: 64 << 10, MaxMessage: 1 << 20, MaxAssembly: 1 << 20, MaxQueue: 16 << 20}
	c, s := join(t, a, b, client, server, opts)
	for i := range uint64(10) {
		if err := c.Send(t.Context(), testCall(100+i, frame.PriorityBulk, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	<-server.got // the first, which is kept
	for i := range uint64(500) {
		if err := c.Send(t.Context(), testCall(200+i, frame.PriorityBulk, 100)); err != nil {
			t.Fatal(err)
		}
		<-server.got
	}
	server.release()
	for range 9 { // the others, one after the other
		<-server.got
		server.release()
	}
	if s.rx.room != opts.MaxAssembly {
		t.Errorf("room has leaked: %d bytes are left", s.rx.room)
	}
}

func TestAMessageThatIsTooLongIsNotSent(t *testing.T) {
	a, b := sockets(t, "unix")
	client := newCaller()
	c, _ := join(t, a, b, client, &echo{}, Options{MaxFrame: frame.MinMaxFrame, MaxMessage: 1 << 20})
	if _, err := client.call(t.Context(), c, frame.PriorityNormal, make([]byte, 1<<20+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("error is %v", err)
	}
	body := bytes.Repeat([]byte("x"), 1<<20)
	if got, err := client.call(t.Context(), c, frame.PriorityNormal, body); err != nil || !bytes.Equal(got, body) {
		t.Errorf("in frames of 8 KiB: %d bytes, %v", len(got), err)
	}
	for _, m := range []*Message{
		{Header: frame.Header{Type: frame.TypeError, Priority: 1, Seq: 1}, Body: make([]byte, frame.MinMaxFrame+1)},
		{Header: frame.Header{Type: frame.TypeBind, Seq: 1}, Body: make([]byte, frame.MaxMethodName+1)},
	} {
		if err := c.TrySend(m); !errors.Is(err, ErrTooLong) {
			t.Errorf("%v: error is %v", m.Type, err)
		}
	}
	bad := &Message{Header: frame.Header{Type: frame.TypeCall}}
	if err := c.TrySend(bad); !errors.Is(err, &frame.Error{Reason: frame.ReasonProtocol}) {
		t.Errorf("error is %v", err)
	}
}

// TestADroppedMessageLeavesNothing gives up a call that waits for the peer's memory.
func TestADroppedMessageLeavesNothing(t *testing.T) {
	a, b := sockets(t, "unix")
	server := &hoarder{got: make(chan struct{}, 2)}
	c, s := join(t, a, b, newCaller(), server, Options{MaxMessage: 1 << 20})
	released := 0
	for seq := range uint64(2) {
		m := testCall(seq+1, frame.PriorityNormal, 1<<20)
		m.Owner = counted{&released}
		if err := c.TrySend(m); err != nil {
			t.Fatal(err)
		}
		if seq == 0 {
			<-server.got // and it keeps all the room
		}
	}
	if unsent, _ := c.Drop(2); !unsent { // unless the writer has not come so far
		if err := c.TrySend(&Message{Header: frame.Header{Type: frame.TypeCancel, Seq: 2}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.release()
	_ = c.Close()
	<-c.Done()
	s.rx.mu.Lock()
	defer s.rx.mu.Unlock()
	if s.rx.room != s.opts.MaxAssembly || len(s.rx.waiting) > 0 {
		t.Errorf("%d bytes of room are left, %d messages wait", s.rx.room, len(s.rx.waiting))
	}
	if released != 2 {
		t.Errorf("%d of 2 bodies are released", released)
	}
}

// TestAPeerThatDoesNotReadIsLeft lets a write wait for ever.
func TestAPeerThatDoesNotReadIsLeft(t *testing.T) {
	a, b := sockets(t, "unix")
	narrow(t, a, b)
	client := newCaller()
	go func() { // a server that shakes hands, grants everything, and reads no more
		_, _ = readHalf(b, frame.TypeHello)
		ack := admitAll(&frame.Hello{MaxVersion: 1})
		ack.Limits = frame.Limits{MaxFrame: 1 << 20, MaxMessage: 1 << 30, Window: 1 << 30}
		_ = writeHalf(b, frame.TypeHelloAck, ack.Append(nil))
	}()
	c, err := Connect(t.Context(), a, frame.Hello{}, client, Options{Write: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := c.Send(t.Context(), testCall(1, frame.PriorityNormal, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(t.Context(), testCall(2, frame.PriorityNormal, 100)); err != nil {
		t.Fatal(err)
	}
	if err := <-client.closed; !errors.Is(err, ErrSlowPeer) {
		t.Errorf("error is %v", err)
	}
	if len(client.unsent) != 1 || client.unsent[0] != 2 {
		t.Errorf("unsent are %v", client.unsent)
	}
	<-c.Done()
}

// TestRepliesBeforeAnEPIPEStillArrive has a peer that answers, and closes.
func TestRepliesBeforeAnEPIPEStillArrive(t *testing.T) {
	a, b := sockets(t, "unix")
	client := newCaller()
	read := make(chan struct{})
	go func() {
		_, _ = readHalf(b, frame.TypeHello)
		ack := admitAll(&frame.Hello{MaxVersion: 1})
		ack.Limits = frame.Limits{MaxFrame: 1 << 20, MaxMessage: 1 << 30, Window: 1 << 30}
		wire := ack.Append(nil)
		_ = writeHalf(b, frame.TypeHelloAck, wire)
		<-read // the call; its reply is on its way when the peer dies
		_, _ = io.ReadFull(b, make([]byte, frame.HeaderLen+8+5))
		_, _ = b.Write(frame.Append(nil, &frame.Header{Type: frame.TypeReply, Priority: 1, Seq: 1}, nil, []byte("reply")))
		_ = b.Close()
		read <- struct{}{}
	}()
	c, err := Connect(t.Context(), a, frame.Hello{}, client, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	done := make(chan error)
	go func() {
		var err error
		got, err = client.call(t.Context(), c, 1, []byte("hello"))
		done <- err
	}()
	read <- struct{}{}
	<-read
	for c.TrySend(&Message{Header: frame.Header{Type: frame.TypePing}}) == nil { // into the broken pipe
	}
	if err := <-done; err != nil || string(got) != "reply" {
		t.Errorf("got %q, %v", got, err)
	}
	<-c.Done()
}
