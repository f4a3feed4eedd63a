package conn

import (
	"rpcpool.dev/rpc/frame"
)

const (
	lanes = int(frame.Priorities) - 1
	// maxChunk bounds a frame's body, in bytes: a frame is what a more urgent
	// message must wait for.
	maxChunk = 64 << 10
)

// prices are what a byte costs in each lane: whoever has paid least is next, so
// the lanes share 8 : 4 : 1.
var prices = [lanes]uint64{1, 2, 8}

// minEager is the least bound, in bytes, of what is sent of long messages before the peer has
// room for them: less than its window, so that others pass them. Of a larger window it may
// be a quarter: the answer should come before the sender has to wait for it.
const minEager = frame.MessageAllowance / 2

// queue holds what is to be sent, and says what is next. It is pure: no I/O, no
// locks.
type queue struct {
	chunk   int // longest body of a frame, bytes: at least LongBody
	crc     bool
	control lane
	lanes   [lanes]lane
	cuts    int    // messages in the queue, in whole or in part, that are cut
	passed  bool   // a short one has come that must pass one of them
	most    int    // of eager, if it is more than minEager
	eager   int    // bytes sent of long messages that need a limit of their own and have none yet
	paid    uint64 // by the lane that was served last, before that

	bytes  int    // of messages, in the queue
	urgent int    // bytes of control, in the queue
	sent   uint64 // metered bytes that were taken off the queue
	limit  uint64 // of sent
}

// lane is the queue of one priority.
type lane struct {
	fresh fifo        // nothing of it has been sent
	long  []*outgoing // cut messages whose first frame has been sent
	paid  uint64      // for all that the lane has sent
	cut   bool        // the next turn is a chunk's
}

// segment is either short frames, one after another, or one long message.
type segment struct {
	short *buffer
	start int // of short: what comes before it has been taken
	long  *outgoing
}

// outgoing is a long message on its way.
type outgoing struct {
	Message
	head  []byte // header and extensions of its first frame
	off   int    // bytes of the body that were taken
	limit int    // bytes of the body that may be taken
}

// fifo is a queue of segments.
type fifo struct {
	s    []segment
	next int
}

func (f *fifo) empty() bool     { return f.next == len(f.s) }
func (f *fifo) first() *segment { return &f.s[f.next] }

// last returns the buffer of short frames at the end, if there is one.
func (f *fifo) last() *buffer {
	if f.empty() {
		return nil
	}
	return f.s[len(f.s)-1].short
}

func (f *fifo) push(s segment) { f.s = append(f.s, s) }

func (f *fifo) pop() {
	f.s[f.next] = segment{}
	if f.next++; f.next == len(f.s) {
		f.s, f.next = f.s[:0], 0
	} else if f.next >= 64 && f.next*2 >= len(f.s) { // amortised: each is moved once
		n := copy(f.s, f.s[f.next:])
		clear(f.s[n:])
		f.s, f.next = f.s[:n], 0
	}
}

func (q *queue) lane(p frame.Priority) *lane {
	if p == frame.PriorityControl {
		return &q.control
	}
	return &q.lanes[p-1]
}

func (q *queue) count(l *lane) *int {
	if l == &q.control {
		return &q.urgent
	}
	return &q.bytes
}

func (q *queue) empty() bool { return q.bytes == 0 && q.urgent == 0 }

// push takes a message in. It tells whether the body was copied.
func (q *queue) push(m *Message) (copied bool) {
	l := q.lane(m.Priority)
	if len(m.Body) >= LongBody {
		q.pushLong(l, m)
		return false
	}
	q.passed = q.passed || q.cuts > 0 && m.Priority != frame.PriorityControl
	b := l.fresh.last()
	if b == nil || cap(b.b)-len(b.b) < frame.HeaderLen+frame.MaxExt+len(m.Body) {
		b = takeBuffer()
		l.fresh.push(segment{short: b})
	}
	was := len(b.b)
	h := m.Header
	h.Flags &^= frame.FlagMore
	b.b = appendFrame(b.b, &h, &m.Ext, m.Body, q.crc)
	*q.count(l) += len(b.b) - was
	return true
}

// appendFrame appends a whole frame. b must have the room.
func appendFrame(b []byte, h *frame.Header, e *frame.Ext, body []byte, crc bool) []byte {
	start := len(b)
	b = appendHead(b, h, e, len(body), crc)
	ext := b[start+frame.HeaderLen:]
	b = append(b, body...)
	if crc {
		frame.Seal(b[start:start+frame.HeaderLen], ext, body)
	}
	return b
}

// appendHead appends a header and the extensions.
func appendHead(b []byte, h *frame.Header, e *frame.Ext, body int, crc bool) []byte {
	start := len(b)
	b = b[:start+frame.HeaderLen]
	b = e.Append(b)
	h.ExtLen, h.BodyLen, h.CRC = len(b)-start-frame.HeaderLen, body, 0
	if crc {
		h.Flags |= frame.FlagCRC
	}
	h.Put(b[start:])
	return b
}

func (q *queue) pushLong(l *lane, m *Message) {
	o := &outgoing{Message: *m, limit: min(len(m.Body), frame.MessageAllowance)}
	o.Ext.MessageLen = 0
	if o.Flags &^= frame.FlagMore; len(o.Body) > q.chunk {
		o.Flags |= frame.FlagMore
		o.Ext.MessageLen = uint64(len(o.Body))
	}
	o.head = o.Ext.Append(make([]byte, frame.HeaderLen, 2*frame.HeaderLen))
	q.bytes += len(o.Body)
	q.counts(o, 1)
	l.fresh.push(segment{long: o})
}

// counts counts a message that comes or goes, if it is cut.
func (q *queue) counts(o *outgoing, n int) {
	if len(o.Body) > q.chunk {
		q.cuts += n
	}
}

// credit raises a limit: of the connection if seq is 0.
func (q *queue) credit(seq, limit uint64) {
	if seq == 0 {
		q.limit = max(q.limit, limit)
		return
	}
	for i := range q.lanes {
		for _, o := range q.lanes[i].long {
			if o.Seq != seq {
				continue
			}
			was := o.waits()
			o.limit = max(o.limit, int(min(limit, uint64(len(o.Body)))))
			if was && !o.waits() {
				q.eager -= o.off
			}
			return
		}
	}
}

// gather moves what is to be sent next, about limit bytes, into b.
func (q *queue) gather(b *batch, limit int) {
	for !q.control.fresh.empty() && b.room(limit) {
		q.takeFresh(&q.control, b, false)
	}
	for b.room(limit) {
		i := q.next()
		if i < 0 {
			return
		}
		l, before := &q.lanes[i], b.size
		if l.takesChunk(q) {
			q.takeChunk(l, b)
		} else {
			q.takeFresh(l, b, true)
		}
		l.paid += uint64(b.size-before) * prices[i]
	}
}

// next returns the lane whose turn it is, or -1 if nothing may be sent. A lane
// that had nothing to send has saved nothing by that.
func (q *queue) next() int {
	next := -1
	for i := range q.lanes {
		l := &q.lanes[i]
		if !l.ready(q) {
			continue
		}
		l.paid = max(l.paid, q.paid)
		if next < 0 || l.paid < q.lanes[next].paid {
			next = i
		}
	}
	if next >= 0 {
		q.paid = q.lanes[next].paid
	}
	return next
}

// ready tells whether something of the lane may be sent.
func (l *lane) ready(q *queue) bool {
	return l.freshReady(q) || l.readyChunk(q) >= 0
}

// waits tells whether a message needs a limit of its own, and has none yet.
func (o *outgoing) waits() bool { return o.limit < len(o.Body) }

func (l *lane) takesChunk(q *queue) bool {
	if i := l.readyChunk(q); i < 0 {
		return false
	}
	return l.cut || !l.freshReady(q)
}

func (l *lane) freshReady(q *queue) bool {
	if l.fresh.empty() {
		return false
	}
	s := l.fresh.first()
	if s.short != nil {
		return q.sent+uint64(frameLen(s.short.b[s.start:])) <= q.limit
	}
	return q.sent+uint64(q.firstLen(s.long)) <= q.limit
}

// firstLen returns the length of the first frame of a long message. It always
// goes, if need be without a body, so that the peer knows of the message.
func (q *queue) firstLen(o *outgoing) int {
	n, _ := q.chunkLen(o)
	return len(o.head) + n
}

// readyChunk returns the index of the first cut message that may go on.
func (l *lane) readyChunk(q *queue) int {
	for i, o := range l.long {
		n, metered := q.chunkLen(o)
		if n > 0 && (!metered || q.sent+uint64(frame.HeaderLen+n) <= q.limit) {
			return i
		}
	}
	return -1
}

// chunkLen returns how long the next chunk of a cut message is, and whether it
// counts against the connection's limit.
func (q *queue) chunkLen(o *outgoing) (n int, metered bool) {
	n = min(q.chunk, o.limit-o.off)
	if o.waits() {
		n = min(n, max(minEager-q.eager, q.most-q.eager, 0))
	}
	return n, o.off < frame.MessageAllowance
}

// takeFresh moves the first segment of a lane, or as much of it as the limit
// allows.
func (q *queue) takeFresh(l *lane, b *batch, metered bool) {
	s := l.fresh.first()
	if s.long != nil {
		o := s.long
		l.fresh.pop()
		q.takeFirst(l, o, b)
		return
	}
	frames := s.short.b[s.start:]
	n := len(frames)
	if metered {
		n = fit(frames, int(min(q.limit-q.sent, uint64(n))))
		q.sent += uint64(n)
	}
	*q.count(l) -= n
	p := part{bytes: frames[:n], frames: true}
	if n == len(frames) {
		p.short = s.short
		l.fresh.pop()
	} else {
		s.start += n
	}
	l.cut = true
	b.add(p)
}

// fit returns the length of the frames at the start of b that fit in n bytes.
func fit(b []byte, n int) int {
	if n == len(b) {
		return n
	}
	end := 0
	for end < len(b) && end+frameLen(b[end:]) <= n {
		end += frameLen(b[end:])
	}
	return end
}

// takeFirst moves the first frame of a long message, which may be all of it.
func (q *queue) takeFirst(l *lane, o *outgoing, b *batch) {
	q.sent += uint64(q.firstLen(o))
	l.cut = true
	h := o.Header
	h.ExtLen = len(o.head) - frame.HeaderLen
	q.takeBody(l, o, b, &h, o.head)
}

// takeChunk moves the next frame of a cut message.
func (q *queue) takeChunk(l *lane, b *batch) {
	i := l.readyChunk(q)
	o := l.long[i]
	l.long = append(l.long[:i], l.long[i+1:]...)
	l.cut = false
	n, metered := q.chunkLen(o)
	if metered {
		q.sent += uint64(frame.HeaderLen + n)
	}
	h := frame.Header{Type: frame.TypeChunk, Priority: o.Priority, Codec: o.Codec, Seq: o.Seq}
	if o.off+n < len(o.Body) {
		h.Flags = frame.FlagMore
	}
	q.takeBody(l, o, b, &h, b.head())
}

// takeBody moves the next frame of a long message, whose head, but for the
// header, is made.
func (q *queue) takeBody(l *lane, o *outgoing, b *batch, h *frame.Header, head []byte) {
	n, _ := q.chunkLen(o)
	if o.waits() {
		q.eager += n
	}
	body := o.Body[o.off : o.off+n]
	h.BodyLen, h.CRC = n, 0
	if q.crc {
		h.Flags |= frame.FlagCRC
	}
	h.Put(head)
	if q.crc {
		frame.Seal(head[:frame.HeaderLen], head[frame.HeaderLen:], body)
	}
	b.add(part{bytes: head, long: o, frames: h.Type != frame.TypeChunk})
	o.off += n
	q.bytes -= n
	p := part{bytes: body, long: o, last: o.off == len(o.Body)}
	if p.last {
		q.counts(o, -1)
	} else {
		l.long = append(l.long, o)
	}
	b.add(p)
}

// drop takes a long message off the queue, so that nothing more of it is sent.
// unsent tells whether nothing was.
func (q *queue) drop(seq uint64) (o *outgoing, unsent bool) {
	for i := range q.lanes {
		l := &q.lanes[i]
		for j, o := range l.long {
			if o.Seq == seq {
				l.long = append(l.long[:j], l.long[j+1:]...)
				q.counts(o, -1)
				q.bytes -= len(o.Body) - o.off
				if o.waits() {
					q.eager -= o.off
				}
				return o, false
			}
		}
		for j := l.fresh.next; j < len(l.fresh.s); j++ {
			if o := l.fresh.s[j].long; o != nil && o.Seq == seq {
				l.fresh.s = append(l.fresh.s[:j], l.fresh.s[j+1:]...)
				if l.fresh.empty() {
					l.fresh.s, l.fresh.next = l.fresh.s[:0], 0
				}
				q.counts(o, -1)
				q.bytes -= len(o.Body)
				return o, true
			}
		}
	}
	return nil, false
}

// clear empties the queue. It appends the seqs of the calls that it held and of
// which nothing was taken, and returns the long messages, to be released.
func (q *queue) clear(unsent []uint64) (seqs []uint64, long []*outgoing) {
	for p := range frame.Priorities {
		l := q.lane(p)
		for ; !l.fresh.empty(); l.fresh.pop() {
			s := l.fresh.first()
			if s.short != nil {
				unsent = appendCalls(unsent, s.short.b[s.start:])
				continue // not back to the pool: a part of it may still be in a batch
			}
			if s.long.Type == frame.TypeCall {
				unsent = append(unsent, s.long.Seq)
			}
			long = append(long, s.long)
		}
		long = append(long, l.long...)
		l.long = nil
	}
	q.bytes, q.urgent, q.eager, q.cuts = 0, 0, 0, 0
	return unsent, long
}

func (o *outgoing) done() {
	if o.Owner != nil {
		o.Owner.Release()
	}
}
