package conn

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"rpcpool.dev/rpc/frame"
)

// newQueue returns a queue whose peer has given all credit.
func newQueue() *queue {
	return &queue{chunk: maxChunk, limit: 1 << 40}
}

// drainQueue takes one batch off the queue and returns its frames.
func drainQueue(t *rapid.T, q *queue, limit int) []wireFrame {
	var b batch
	q.gather(&b, limit)
	wire := bytes.Join(b.left(), nil)
	b.wrote(len(wire))
	if b.size != 0 || len(b.parts) != 0 {
		t.Fatalf("batch that is written has %d parts left", len(b.parts))
	}
	return parseFrames(t, wire)
}

type wireFrame struct {
	frame.Header
	ext  frame.Ext
	body []byte
}

type fataler interface{ Fatalf(string, ...any) }

func parseFrames(t fataler, wire []byte) (all []wireFrame) {
	for len(wire) > 0 {
		h, err := frame.ParseHeader(wire, frame.LimitMaxFrame)
		if err != nil {
			t.Fatalf("what is written is no frame: %v", err)
		}
		e, err := frame.ParseExt(wire[frame.HeaderLen : frame.HeaderLen+h.ExtLen])
		if err != nil {
			t.Fatalf("what is written has no extensions: %v", err)
		}
		all = append(all, wireFrame{h, e, wire[frame.HeaderLen+h.ExtLen : h.Len()]})
		wire = wire[h.Len():]
	}
	return all
}

func testCall(seq uint64, p frame.Priority, size int) *Message {
	body := make([]byte, size)
	for i := 0; i+8 <= size; i += 8 {
		binary.LittleEndian.PutUint64(body[i:], seq<<32+uint64(i))
	}
	return &Message{Header: frame.Header{Type: frame.TypeCall, Priority: p, Seq: seq}, Ext: frame.Ext{Method: 3}, Body: body}
}

// TestTheQueueKeepsOrder holds the queue to what doc.go promises, whatever is
// pushed, credited and taken in whatever order: first frames of a lane leave in
// the order in which they came, chunks of a message follow one another with
// nothing lost, limits are kept, and all that may be sent is.
func TestTheQueueKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue()
		q.limit = frame.MessageAllowance
		q.crc = rapid.Bool().Draw(t, "checksums")
		pushed := map[uint64]*Message{}
		var want [frame.Priorities][]uint64 // first frames to come
		got := map[uint64][]byte{}
		limits := map[uint64]int{}
		metered := uint64(0)
		seq := uint64(0)
		take := func(limit int) int {
			frames := drainQueue(t, q, limit)
			for _, f := range frames {
				m := pushed[f.Seq]
				if f.Type != frame.TypeChunk {
					if len(want[f.Priority]) == 0 || want[f.Priority][0] != f.Seq {
						t.Fatalf("%v %d leaves, but next of its lane are %v", f.Type, f.Seq, want[f.Priority])
					}
					want[f.Priority] = want[f.Priority][1:]
				}
				if f.Type.Metered() && len(got[f.Seq]) < frame.MessageAllowance {
					metered += uint64(f.Len())
				}
				got[f.Seq] = append(got[f.Seq], f.body...)
				if more := f.Flags&frame.FlagMore != 0; more != (len(got[f.Seq]) < len(m.Body)) {
					t.Fatalf("message %d has %d of %d bytes, more: %v", f.Seq, len(got[f.Seq]), len(m.Body), more)
				}
				if n := len(got[f.Seq]); n > max(frame.MessageAllowance, limits[f.Seq]) || metered > q.limit {
					t.Fatalf("credit is not kept: message %d has %d of %d bytes, connection %d of %d", f.Seq, n, limits[f.Seq], metered, q.limit)
				}
			}
			return len(frames)
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				seq++
				p := frame.Priority(rapid.IntRange(0, 3).Draw(t, "priority"))
				m := testCall(seq, p, rapid.SampledFrom([]int{0, 64, 5000, LongBody, 20000, maxChunk, maxChunk + 1, 300000, 1 << 20}).Draw(t, "size"))
				if p == frame.PriorityControl {
					m = &Message{Header: frame.Header{Type: frame.TypePing, Seq: seq}}
				}
				pushed[seq] = m
				want[p] = append(want[p], seq)
				q.push(m)
			},
			"take": func(t *rapid.T) { take(rapid.SampledFrom([]int{1, maxChunk, maxBatch}).Draw(t, "limit")) },
			"credit": func(t *rapid.T) {
				q.credit(0, q.sent+uint64(rapid.IntRange(0, 1<<20).Draw(t, "more")))
			},
			"credit of a message": func(t *rapid.T) {
				s := rapid.Uint64Range(0, seq).Draw(t, "seq")
				if s != 0 && len(got[s]) > 0 {
					limits[s] = len(pushed[s].Body)
					q.credit(s, uint64(limits[s]))
				}
			},
		})
		for seq, m := range pushed { // to the end
			limits[seq] = len(m.Body)
		}
		q.credit(0, 1<<40)
		for !q.empty() {
			n := take(maxBatch)
			for seq := range got {
				q.credit(seq, uint64(limits[seq]))
			}
			if n == 0 && take(maxBatch) == 0 {
				t.Fatalf("%d bytes are stuck", q.bytes)
			}
		}
		for seq, m := range pushed {
			if !bytes.Equal(got[seq], m.Body) {
				t.Fatalf("message %d has other bytes than were sent", seq)
			}
		}
	})
}

func TestAShortMessageGoesBetweenTheChunksOfALongOne(t *testing.T) {
	for p := frame.PriorityInteractive; p < frame.Priorities; p++ {
		q := newQueue()
		q.push(testCall(1, frame.PriorityNormal, 10<<20))
		q.push(testCall(2, p, 64))
		q.credit(0, 1<<40)
		var b batch
		q.gather(&b, maxBatch)
		at := 0
		for _, f := range parseFrames(t, bytes.Join(b.left(), nil)) {
			if f.Seq == 2 {
				break
			}
			at += f.BodyLen
		}
		if at > 2*maxChunk && p != frame.PriorityBulk || at >= maxBatch {
			t.Errorf("priority %d waits for %d bytes of a long message of priority %d", p, at, frame.PriorityNormal)
		}
	}
}

func TestLanesShareEightToFourToOne(t *testing.T) {
	q := newQueue()
	for i := range uint64(600) {
		for p := frame.PriorityInteractive; p < frame.Priorities; p++ {
			q.push(testCall(4*i+uint64(p), p, maxChunk))
		}
	}
	var got [frame.Priorities]int
	for total := 0; total < 130; {
		var b batch
		q.gather(&b, maxBatch)
		for _, f := range parseFrames(t, bytes.Join(b.left(), nil)) {
			if total++; total <= 130 {
				got[f.Priority]++
			}
		}
	}
	if got[1] < 78 || got[1] > 82 || got[2] < 38 || got[2] > 42 || got[3] < 8 {
		t.Errorf("of 130 frames, %v are interactive, normal and bulk", got[1:])
	}
}

func TestControlWaitsForNoCredit(t *testing.T) {
	q := newQueue()
	q.limit = 0
	q.push(testCall(1, frame.PriorityInteractive, 64))
	q.push(&Message{Header: frame.Header{Type: frame.TypeCancel, Seq: 1}})
	var b batch
	q.gather(&b, maxBatch)
	if f := parseFrames(t, bytes.Join(b.left(), nil)); len(f) != 1 || f[0].Type != frame.TypeCancel {
		t.Errorf("without credit, %+v are sent", f)
	}
}

func TestWhatWasNotWrittenIsKnown(t *testing.T) {
	var whole []byte
	make3 := func() (*queue, *batch) {
		q := newQueue()
		for seq, size := range []int{0, 64, 20000, 64} {
			if seq > 0 {
				q.push(testCall(uint64(seq), frame.PriorityNormal, size))
			}
		}
		b := &batch{}
		q.gather(b, maxBatch)
		return q, b
	}
	_, b := make3()
	whole = bytes.Join(b.left(), nil)
	ends := map[uint64]int{} // where the frame of a call begins
	at := 0
	for _, f := range parseFrames(t, whole) {
		ends[f.Seq] = at
		at += f.Len()
	}
	for n := range len(whole) {
		if n > 300 && n < len(whole)-300 && n%97 != 0 {
			continue // inside the long body
		}
		_, b := make3()
		for left := n; left > 0; { // as a socket does: in pieces
			k := min(left, 7001)
			b.wrote(k)
			left -= k
		}
		unsent, _ := b.abandon(nil)
		want := 0
		for _, begin := range ends {
			if begin >= n {
				want++
			}
		}
		if len(unsent) != want {
			t.Fatalf("after %d bytes, %v are unsent, want %d", n, unsent, want)
		}
	}
}

func TestADroppedMessageIsNotFinished(t *testing.T) {
	q := newQueue()
	released := 0
	m := testCall(1, frame.PriorityBulk, 1<<20)
	m.Owner = counted{&released}
	q.push(m)
	if _, unsent := q.drop(1); !unsent || !q.empty() {
		t.Error("a message of which nothing was sent is not known as such")
	}
	q.push(m)
	var b batch
	q.gather(&b, 1)
	if o, unsent := q.drop(1); o == nil || unsent || !q.empty() {
		t.Error("a message of which something was sent is not known as such")
	}
	if o, _ := q.drop(1); o != nil {
		t.Error("a message is dropped twice")
	}
}

// counted counts its releases.
type counted struct{ n *int }

func (c counted) Release() { *c.n++ }

// TestABacklogIsSmallWhileShortMessagesPassLongOnes looks at what the socket is told.
func TestABacklogIsSmallWhileShortMessagesPassLongOnes(t *testing.T) {
	var told []int
	s := sender{q: *newQueue()}
	s.w.buffer = func(n int) error {
		told = append(told, n)
		return nil
	}
	write := func() {
		s.b.reset()
		if s.gather(false); len(s.b.parts) == 0 {
			t.Fatal("nothing is to be written")
		}
		s.q.credit(3, 2*tightFor)
	}
	push := func(seq uint64, size int) {
		s.q.push(testCall(seq, frame.PriorityNormal, size))
	}
	want := func(when string, n ...int) {
		t.Helper()
		if !slices.Equal(told, n) {
			t.Errorf("%s the socket is told %d, want %d", when, told, n)
		}
	}
	push(1, maxChunk)
	push(2, 64)
	write()
	want("while nothing is cut,")
	push(3, 2*tightFor)
	write()
	write()
	want("with long messages alone,")
	push(4, 64)
	write()
	want("when a short one has come,", tightBuffer)
	if s.b.size > 2*maxChunk {
		t.Errorf("%d bytes are written at a time that nothing can pass", s.b.size)
	}
	for range tightFor / maxChunk {
		write()
	}
	want("when none has come for long,", tightBuffer, unixBuffer)
}
