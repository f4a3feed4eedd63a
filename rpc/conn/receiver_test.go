package conn

import (
	"errors"
	"testing"

	"rpcpool.dev/rpc/frame"
)

func newReceiver(assembly int) *receiver {
	o, _ := Options{Window: frame.MessageAllowance}.withDefaults()
	o.MaxAssembly = assembly
	r := &receiver{}
	r.init(&Conn{opts: o})
	return r
}

func TestTheWindowGrowsAsLongAsTheReaderKeepsUp(t *testing.T) {
	r := newReceiver(1 << 20)
	for range 200 { // a window arrives within each round trip
		n := r.free(held{window: int(r.window)}, 7)
		if n.limit == 0 {
			t.Fatal("a window was let go of, and no limit said")
		}
		r.free(held{window: int(r.window)}, 8)
		r.pong(7)
	}
	if r.window != r.maxWindow {
		t.Errorf("the window is %d, want %d", r.window, r.maxWindow)
	}
	slow := newReceiver(1 << 20)
	for range 200 { // a quarter of a window does
		slow.free(held{window: int(slow.window / 4)}, 7)
		slow.pong(7)
	}
	if slow.window != frame.MessageAllowance {
		t.Errorf("the window of a slow reader is %d", slow.window)
	}
}

// TestManyBegunMessagesAreBounded: a peer that begins message after message, each
// of two bytes, does not get memory for all of them.
func TestManyBegunMessagesAreBounded(t *testing.T) {
	r := newReceiver(1 << 20)
	n := 0
	for ; n < 1<<20; n++ {
		a := &assembly{total: 2}
		r.reserve(a)
		if r.charge(frame.HeaderLen+17) != nil {
			break
		}
		r.hold(a, frame.HeaderLen+17)
	}
	if most := (1<<20)/leastRoom + int(r.window)/(frame.HeaderLen+17); n > most {
		t.Errorf("%d messages are begun, at most %d should be", n, most)
	}
}

func TestWhoSendsMoreThanCreditedIsFoundOut(t *testing.T) {
	r := newReceiver(1 << 20)
	if err := r.charge(frame.MessageAllowance); err != nil {
		t.Fatal(err)
	}
	if err := r.charge(1); !errors.Is(err, &frame.Error{Reason: frame.ReasonFlowControl}) {
		t.Errorf("error is %v", err)
	}
}

func TestLongMessagesTakeTurnsForRoom(t *testing.T) {
	r := newReceiver(1 << 20)
	a := &assembly{h: frame.Header{Seq: 1}, total: 1 << 20}
	b := &assembly{h: frame.Header{Seq: 2}, total: 1 << 20}
	c := &assembly{h: frame.Header{Seq: 3}, total: 100 << 10}
	if n := r.reserve(a); len(n.grants) != 1 || n.grants[0].Seq != 1 || n.grants[0].Ack != 1<<20 {
		t.Fatalf("the first is told %+v", n)
	}
	for _, w := range []*assembly{b, c} {
		if n := r.reserve(w); len(n.grants) != 0 || r.hold(w, 70<<10) != 0 {
			t.Fatalf("the second is told %+v", n)
		}
	}
	n := r.free(r.leave(a), 0)
	if len(n.grants) != 1 || n.grants[0].Seq != 2 || c.granted {
		t.Fatalf("when the first is done, %+v", n)
	}
	if n = r.free(r.leave(b), 0); len(n.grants) != 0 || !c.granted {
		t.Fatalf("a message within its allowance need not be told, but is: %+v", n)
	}
	r.free(r.leave(c), 0)
	if r.room != 1<<20 || len(r.waiting) != 0 {
		t.Errorf("at rest there is room of %d bytes", r.room)
	}
}
