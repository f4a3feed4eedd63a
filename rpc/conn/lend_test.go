package conn

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

// selfReader is a caller that reads its own replies.
type selfReader struct {
	caller
	read int // replies that were read by the caller
}

func (s *selfReader) callAndRead(ctx context.Context, c *Conn, body []byte) ([]byte, error) {
	if !c.Hold() {
		return nil, ErrClosed
	}
	defer c.Release()
	reply := make(chan []byte, 1)
	s.mu.Lock()
	s.seq++
	seq := s.seq
	s.waiting[seq] = reply
	s.mu.Unlock()
	if err := c.Send(ctx, &Message{Header: frame.Header{Type: frame.TypeCall, Priority: 1, Seq: seq}, Body: body}); err != nil {
		return nil, err
	}
	if c.ReadUntil(ctx, func() bool { return len(reply) > 0 }) {
		s.mu.Lock()
		s.read++
		s.mu.Unlock()
	}
	select {
	case got, ok := <-reply:
		if !ok {
			return nil, c.Err()
		}
		return got, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func newSelfReader() *selfReader {
	return &selfReader{caller: caller{waiting: map[uint64]chan []byte{}, closed: make(chan error, 1)}}
}

func TestACallerReadsItsOwnReply(t *testing.T) {
	a, b := sockets(t, "unix")
	client := newSelfReader()
	c, _ := join(t, a, b, client, &echo{}, Options{})
	for i := range 600 {
		body := testCall(uint64(i), 1, []int{0, 64, 5000, 100000, 1 << 20}[i%5]).Body
		if i > 50 {
			body = body[:min(len(body), 64)]
		}
		got, err := client.callAndRead(t.Context(), c, body)
		if err != nil || len(got) != len(body) {
			t.Fatalf("call %d: %d bytes, %v", i, len(got), err)
		}
	}
	if client.read < 150 {
		t.Errorf("callers read only %d of 600 replies", client.read)
	}
}

// TestACallerThatReadsLeavesNothingUnread has a caller read its own answer, behind which come as
// many more messages in one write as are not handled in one round: it hands them over, too,
// before it goes.
func TestACallerThatReadsLeavesNothingUnread(t *testing.T) {
	const many = 3 * bite
	a, b := sockets(t, "unix")
	var got atomic.Int32
	arrived := make(chan struct{}, many)
	c, _ := join(t, a, b, handlerFunc(func(_ Peer, in *In) {
		if got.Add(1); in.Codec == 0 {
			arrived <- struct{}{}
		}
	}), handlerFunc(func(p Peer, in *In) {
		if in.Type != frame.TypeCall {
			return
		}
		answer := Message{Header: frame.Header{Type: frame.TypeReply, Priority: 2, Seq: in.Seq}}
		for n := range len(in.Body) {
			answer.Codec = uint8(min(n, 1)) // 0: the first
			_ = p.Queue(&answer)
		}
	}), Options{})
	if !c.Hold() {
		t.Fatal("the connection has ended")
	}
	defer c.Release()
	seq := uint64(0)
	ask := func(answers int) bool {
		seq++
		got.Store(0)
		if err := c.TrySend(testCall(seq, 1, answers)); err != nil {
			t.Fatal(err)
		}
		read := c.ReadUntil(t.Context(), func() bool { return len(arrived) > 0 })
		n := got.Load()
		<-arrived
		if read && int(n) != answers {
			t.Fatalf("%d of %d messages have been handed over", n, answers)
		}
		return read
	}
	for range 10_000 { // the resident lets callers read when one call has been answered, for a moment
		if ask(1); ask(many) {
			return
		}
		for got.Load() < many { // the resident has read the first of them
			runtime.Gosched()
		}
	}
	t.Error("no caller reads")
}

// TestCallersComeAndGo has one, then many, then one, on a connection whose reader
// is theirs or not.
func TestCallersComeAndGo(t *testing.T) {
	a, b := sockets(t, "unix")
	client := newSelfReader()
	c, _ := join(t, a, b, client, &echo{spawn: true}, Options{})
	for round := range 300 {
		var wg sync.WaitGroup
		for range 1 + round%4 {
			wg.Go(func() {
				for range 5 {
					if _, err := client.callAndRead(t.Context(), c, []byte("x")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if round%50 == 0 { // longer than nobody may read
			if _, err := c.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestACallerThatReadsEndsInTime lets a caller read what never comes.
func TestACallerThatReadsEndsInTime(t *testing.T) {
	a, b := sockets(t, "unix")
	client := newSelfReader()
	server := &choosy{closed: make(chan error, 1)}
	c, _ := join(t, a, b, client, server, Options{})
	for i := range 20 {
		for range 3 { // so that the next caller reads
			if _, err := client.callAndRead(t.Context(), c, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		why := errors.New("no more patience")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Millisecond, why)
		if _, err := client.callAndRead(ctx, c, []byte("silence")); !errors.Is(err, why) {
			t.Fatalf("round %d: %v", i, err)
		}
		cancel()
	}
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

// choosy echoes what is not silence.
type choosy struct {
	echo
	closed chan error
}

func (c *choosy) Message(p Peer, in *In) {
	if string(in.Body) != "silence" {
		c.echo.Message(p, in)
	}
}

// TestAConnectionThatEndsUnderACallerIsKnown closes while a caller reads.
func TestAConnectionThatEndsUnderACallerIsKnown(t *testing.T) {
	for _, mine := range []bool{true, false} {
		a, b := sockets(t, "unix")
		client := newSelfReader()
		c, s := join(t, a, b, client, &choosy{closed: make(chan error, 1)}, Options{})
		for range 3 {
			if _, err := client.callAndRead(t.Context(), c, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		time.AfterFunc(2*time.Millisecond, func() {
			if mine {
				_ = c.Close()
			} else {
				_ = s.Close()
			}
		})
		if _, err := client.callAndRead(t.Context(), c, []byte("silence")); err == nil {
			t.Error("a call without an answer has one")
		}
		if err := <-client.closed; mine != errors.Is(err, ErrClosed) {
			t.Errorf("closed with %v", err)
		}
	}
}

// TestWhoDoesNotReadHasTheResidentDoIt: one who waits for a message and will not read makes the
// connection's own goroutine read again; and it stays so until somebody else asks to.
func TestWhoDoesNotReadHasTheResidentDoIt(t *testing.T) {
	a, b := sockets(t, "unix")
	var waiting atomic.Int32
	var reads atomic.Bool // who waits is there until it has seen its answer, as a caller that reads is
	arrived := make(chan uint64, 1)
	c, _ := join(t, a, b, handlerFunc(func(_ Peer, in *In) {
		if in.Type == frame.TypeReply {
			if !reads.Load() {
				waiting.Add(-1)
			}
			arrived <- in.Seq
		}
	}), &echo{}, Options{Waiting: func() int { return int(waiting.Load()) }})
	seq := uint64(0)
	ask := func(read bool) {
		t.Helper()
		seq++
		reads.Store(read)
		waiting.Add(1)
		if err := c.TrySend(testCall(seq, 1, 8)); err != nil {
			t.Fatal(err)
		}
	}
	got := func() {
		t.Helper()
		select {
		case <-arrived:
		case <-time.After(patience):
			t.Fatal("nobody reads")
		}
	}
	for range 100 {
		read := false
		for i := 0; !read; i++ { // the first time the resident reads, and hears that somebody would have
			if i == 100_000 {
				t.Fatal("whoever wants to read may not")
			}
			ask(true)
			read = c.ReadUntil(t.Context(), func() bool { return len(arrived) > 0 })
			got()
			waiting.Add(-1)
		}
		for range 3 { // nobody reads now, or the resident does for good
			ask(false)
			c.Reside()
			if role := c.lend.role.Load(); role != roleResident {
				t.Fatalf("role %d of who waits and does not read", role)
			}
			got()
		}
	}
}

// TestTheResidentLeavesToWhoWillRead, and stays for who relies on it: else nobody would read
// until it looks again.
func TestTheResidentLeavesToWhoWillRead(t *testing.T) {
	const (
		answered = iota // the only call has its answer
		begins          // a call
		ends            // the answered call's caller has gone
		reads           // a caller asks to read, before the resident can leave
		resides         // one waits who will not read
	)
	for _, test := range []struct {
		name   string
		steps  []int
		leaves bool
	}{
		{"nobody waits, and nobody wanted to read", []int{begins, answered, ends}, false},
		{"nobody waits, the last would have read", []int{begins, reads, answered, ends}, true},
		{"the last would have read, and is about to go", []int{begins, reads, answered}, true},
		{"another call has begun, and may read", []int{begins, reads, answered, ends, begins}, true},
		{"another call has begun, and was told not to read", []int{begins, reads, answered, ends, begins, reads}, false},
		{"another call has begun that will not read", []int{begins, reads, answered, ends, begins, resides}, false},
		{"the last would not have read", []int{begins, resides, answered, ends}, false},
		{"another call waits, and was told not to read", []int{begins, begins, reads, answered, ends}, false},
		{"two calls wait", []int{begins, reads, answered, begins}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c Conn
			n := 0
			c.lend.waiting = func() int { return n }
			c.h = handlerFunc(func(Peer, *In) {})
			c.rd.c = &c
			for _, step := range test.steps {
				switch step {
				case answered:
					c.rd.got = 0
					if err := c.rd.deliver(&In{Header: frame.Header{Type: frame.TypeReply}, kept: true}); err != nil {
						t.Fatal(err)
					}
				case begins:
					n++
				case ends:
					n--
				case reads:
					if c.ReadUntil(t.Context(), nil) {
						t.Fatal("a caller reads, and so does the resident")
					}
				case resides:
					c.Reside()
				}
			}
			if leaves := c.rd.sole && c.offer(); leaves != test.leaves {
				t.Errorf("it leaves: %v", leaves)
			}
		})
	}
}

// TestAnAnswerIsNotWaitedForByNobody: a call that is sent from within the handler, when the only one has
// been answered, and whose caller does not read, is read for at once, and not when lendTime is over.
func TestAnAnswerIsNotWaitedForByNobody(t *testing.T) {
	const chain = 50
	for _, counted := range []bool{false, true} {
		a, b := sockets(t, "unix")
		var waiting atomic.Int32
		var opts Options
		hold, release := func(c *Conn) { c.Hold() }, func(c *Conn) { c.Release() }
		if counted {
			opts.Waiting = func() int { return int(waiting.Load()) }
			hold, release = func(*Conn) { waiting.Add(1) }, func(*Conn) { waiting.Add(-1) }
		}
		var c *Conn
		left := 0
		ended := make(chan struct{}, 1)
		next := func(seq uint64) {
			hold(c)
			if err := c.TrySend(testCall(seq, 1, 8)); err != nil {
				t.Error(err)
			}
			c.Reside()
		}
		c, _ = join(t, a, b, handlerFunc(func(_ Peer, in *In) {
			if in.Type != frame.TypeReply {
				return
			}
			if release(c); left == 0 {
				ended <- struct{}{}
				return
			}
			left--
			next(in.Seq + 1)
		}), &echo{}, opts)
		quick := time.Hour
		for i := 0; i < 100 && quick > chain*lendTime*9/10; i++ {
			c.lend.wanted.Store(true) // somebody has read by himself
			left = chain
			start := time.Now()
			next(uint64(i)*2*chain + 1)
			<-ended
			quick = min(quick, time.Since(start))
		}
		if quick > chain*lendTime*9/10 {
			t.Errorf("counted %v: %d calls take %v", counted, chain, quick)
		}
	}
}
