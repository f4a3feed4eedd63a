package conn

import (
	"bytes"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

// borrower has memory for one reply.
type borrower struct {
	memory *Memory
	lent   chan struct{}
	bodies chan []byte
	inIt   bool
}

func (b *borrower) Lend(Peer, *frame.Header, int) *Memory {
	close(b.lent)
	return b.memory
}

func (b *borrower) Message(_ Peer, in *In) {
	b.inIt = in.In(b.memory)
	b.bodies <- append([]byte(nil), in.Body...)
}

func (*borrower) Closed(Peer, error, []uint64) {}

// TestAReplyArrivesInLentMemoryUntilItIsRecalled recalls the memory when so much of a reply
// has arrived, and nothing more comes until it is back.
func TestAReplyArrivesInLentMemoryUntilItIsRecalled(t *testing.T) {
	const first, chunk = 10_000, 60_000
	h := frame.Header{Type: frame.TypeReply, Flags: frame.FlagMore, Priority: 2, Seq: 1}
	e := frame.Ext{MessageLen: first + 2*chunk}
	body := make([]byte, e.MessageLen)
	for i := range body {
		body[i] = byte(i%251) + 1
	}
	wire := frame.Append(nil, &h, e.Append(nil), body[:first])
	c := frame.Header{Type: frame.TypeChunk, Flags: frame.FlagMore, Priority: 2, Seq: 1}
	wire = frame.Append(wire, &c, nil, body[first:first+chunk])
	c.Flags = 0
	wire = frame.Append(wire, &c, nil, body[first+chunk:])
	for name, at := range map[string]int{
		"behind the first frame":        first + 48,
		"inside the header of a chunk":  first + 48 + 20,
		"inside of a chunk":             first + 48 + 32 + 20_000,
		"inside of the last chunk":      first + 48 + 32 + chunk + 32 + 50_000,
		"never, and all of it has come": len(wire),
	} {
		t.Run(name, func(t *testing.T) {
			own := make([]byte, len(body))
			b := &borrower{memory: Lend(own), lent: make(chan struct{}), bodies: make(chan []byte, 1)}
			s, conn := shakeHands(t, b, Options{})
			if _, err := s.nc.Write(wire[:at]); err != nil {
				t.Fatal(err)
			}
			<-b.lent
			if at < len(wire) {
				conn.Recall(b.memory)
				await(t, b.memory)
				clear(own)
				if _, err := s.nc.Write(wire[at:]); err != nil {
					t.Fatal(err)
				}
			}
			if got := <-b.bodies; !bytes.Equal(got, body) {
				t.Errorf("%d bytes became %d others", len(body), len(got))
			}
			if b.inIt != (at == len(wire)) || !b.inIt && bytes.ContainsFunc(own, func(r rune) bool { return r != 0 }) {
				t.Errorf("the reply is in the memory: %v", b.inIt)
			}
			if err := conn.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLentMemoryComesBackWithTheEnd of the connection.
func TestLentMemoryComesBackWithTheEnd(t *testing.T) {
	b := &borrower{memory: Lend(make([]byte, 20)), lent: make(chan struct{}), bodies: make(chan []byte, 1)}
	s, _ := shakeHands(t, b, Options{})
	s.send(frame.Header{Type: frame.TypeReply, Flags: frame.FlagMore, Priority: 2, Seq: 1}, frame.Ext{MessageLen: 20}, []byte("x"))
	<-b.lent
	_ = s.nc.Close()
	await(t, b.memory)
}

func await(t *testing.T, m *Memory) {
	t.Helper()
	select {
	case <-m.Back():
	case <-time.After(patience):
		t.Fatal("memory does not come back")
	}
}

// TestALongCallGivesMemoryBackBeforeItTakesAny: what it acknowledges is heard first.
func TestALongCallGivesMemoryBackBeforeItTakesAny(t *testing.T) {
	heard := make(chan frame.Header, 2)
	s, _ := shakeHands(t, handlerFunc(func(_ Peer, in *In) { heard <- in.Header }), Options{})
	s.send(frame.Header{Type: frame.TypeCall, Flags: frame.FlagMore, Priority: 2, Seq: 9, Ack: 5}, frame.Ext{MessageLen: 20}, []byte("x"))
	if h := <-heard; h.Type != frame.TypeAck || h.Ack != 5 {
		t.Errorf("got %+v", h)
	}
	s.send(frame.Header{Type: frame.TypeChunk, Priority: 2, Seq: 9}, frame.Ext{}, make([]byte, 19))
	if h := <-heard; h.Type != frame.TypeCall || h.Seq != 9 {
		t.Errorf("got %+v", h)
	}
}
