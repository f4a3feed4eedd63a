package conn

import (
	"errors"
	"fmt"
	"io"
	"net"

	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/ring"
)

// directBody is the length, in bytes, from which on the body of a frame that is
// not all there is read to where it belongs, past the buffer.
const directBody = 4 << 10

// bite is how many messages are handled in one round, even if more have come: what they ask
// for is done, and the answers are written, before the others are looked at. So both sides
// work at the same time when many calls come together, and not by turns.
const bite = 16

// ringBite is the same of who reads from memory: a worker and its server let each other run more often than they
// work at the same time, and each time costs.
const ringBite = 64

// reader cuts the byte stream into frames, and hands over messages.
type reader struct {
	c    *Conn
	try  trier // nil: it can only wait
	buf  []byte
	r, w int // what is unread in buf
	skip int // bytes of an unknown frame that are still to come
	long map[uint64]*assembly
	in   In
	got  int // messages of this round
	size int // window bytes that were let go of in this round

	cur   partial
	ahead ahead
	bite  int   // messages of a round, at most
	rest  bool  // what is unread in buf is looked at next, before more is read
	last  lasts // to be run at the end of the round
	// others have something queued that is written at the end of the round.
	others []*Conn
	crowd  crowd
	sole   bool // the last round brought the answer to the only call, and nothing else
	alone  bool // the last round brought one message, and so did those before
	poll   poll
	looks  uint64 // for messages, so far
	// lostAt is the last one in which the processor was away for long, and lostFor how many waits there is to be none then.
	lostAt  uint64
	lostFor int
	seq     uint64 // of the last message
	// refused is lending's count at that answer: who had been told not to read by then was among
	// those who waited.
	refused uint32
}

// round reads what there is, waiting for it, and handles it.
func (rd *reader) round() error {
	rd.sole, rd.alone = false, false
	var err error
	switch {
	case rd.rest:
		rd.rest = false
	case rd.cur.on:
		err = rd.goOn()
	default:
		err = rd.fill()
	}
	if err == nil {
		err = rd.frames()
	}
	rd.settle()
	return err
}

// settle ends a round: what was let go of is credited, and what handlers have
// queued is written.
func (rd *reader) settle() {
	if rd.size > 0 {
		rd.c.tell(rd.c.rx.free(held{window: rd.size}, rd.c.nonce()), false)
		rd.size = 0
	}
	if rd.got > 0 {
		rd.c.snd.burst.Store(int32(rd.got))
		rd.crowd.came(rd.got)
		rd.alone = rd.crowd.rounds == 0
		rd.got = 0
	}
	rd.c.snd.flush()
	for _, o := range rd.others {
		o.snd.flush()
	}
	clear(rd.others)
	rd.others = rd.others[:0]
}

// fill reads what there is.
func (rd *reader) fill() error {
	if rd.r == rd.w {
		rd.r, rd.w = 0, 0
		rd.unspill()
	} else if len(rd.buf)-rd.w < directBody {
		rd.w = copy(rd.buf, rd.buf[rd.r:rd.w])
		rd.r = 0
	}
	for {
		n, err := rd.await(rd.buf[rd.w:])
		rd.w += n
		rd.c.hear()
		if n > 0 {
			return nil
		}
		if !rd.recalled(err) {
			return rd.readError(err)
		}
	}
}

// readError says why nothing could be read.
func (rd *reader) readError(err error) error {
	inside := rd.r < rd.w || rd.skip > 0 || len(rd.long) > 0 || rd.cur.on
	switch {
	case rd.c.isKick(err):
		return errKicked
	case errors.Is(err, net.ErrClosed):
		return ErrClosed
	case errors.Is(err, ring.ErrPeer):
		return malformed("%v", err)
	case inside:
		return fmt.Errorf("%w inside a frame or message: %w", ErrCut, err)
	case errors.Is(err, io.EOF):
		return ErrPeerClosed
	default:
		return fmt.Errorf("%w: %w", ErrCut, err)
	}
}

// frames handles all frames that are there.
func (rd *reader) frames() error {
	for rd.w-rd.r > 0 {
		if rd.skip > 0 {
			n := min(rd.skip, rd.w-rd.r)
			rd.skip -= n
			rd.r += n
			continue
		}
		there := rd.buf[rd.r:rd.w]
		if len(there) < frame.HeaderLen {
			return nil
		}
		h, err := frame.ParseHeader(there, rd.c.opts.MaxFrame)
		if err != nil {
			return err
		}
		if done, err := rd.next(&h, there); done || err != nil {
			return err
		}
		if rd.rest = rd.got >= rd.bite && rd.r < rd.w && !rd.cur.on; rd.rest {
			return nil
		}
	}
	return nil
}

// next handles the frame at the start of what is there. done tells that more
// must come first.
func (rd *reader) next(h *frame.Header, there []byte) (done bool, err error) {
	n := h.Len()
	switch {
	case !h.Type.Known():
		rd.r += frame.HeaderLen
		rd.skip = n - frame.HeaderLen
		return false, nil
	case !rd.c.ack.Features.Allow(h):
		return false, &frame.Error{Reason: frame.ReasonFeature, Text: fmt.Sprintf("%v with flags %#x needs a feature that is not agreed", h.Type, h.Flags)}
	case n <= len(there):
		rd.r += n
		return false, rd.whole(h, there[:n])
	case h.Type.Metered() && h.BodyLen >= directBody && len(there) >= frame.HeaderLen+h.ExtLen:
		return false, rd.direct(h, there)
	}
	return true, nil
}

// whole handles a frame that is in the buffer.
func (rd *reader) whole(h *frame.Header, b []byte) error {
	ext, body := b[frame.HeaderLen:frame.HeaderLen+h.ExtLen], b[frame.HeaderLen+h.ExtLen:]
	if h.Flags&frame.FlagCRC != 0 {
		if err := frame.Verify(b[:frame.HeaderLen], ext, body); err != nil {
			return err
		}
	}
	e, err := frame.ParseExt(ext)
	if err != nil {
		return err
	}
	if !h.Type.Metered() {
		return rd.c.control(rd, h, &e, body)
	}
	if h.Type != frame.TypeChunk && h.Flags&frame.FlagMore == 0 {
		return rd.message(h, &e, body, nil)
	}
	a, err := rd.assembly(h, &e)
	if err != nil {
		return err
	}
	copy(rd.c.rx.grow(a, len(body)), body)
	return rd.arrived(a)
}

// partial is a frame whose body is being read to where it belongs.
type partial struct {
	on   bool
	h    frame.Header
	head [frame.HeaderLen + frame.MaxExt]byte
	ext  frame.Ext
	a    *assembly // message that it belongs to; nil: it is all of it
	mem  *Memory   // of a frame that is all of its message
	body []byte
	rest []byte // what of body is still to come
}

// direct begins a frame with a long body, of which a part is in the buffer.
func (rd *reader) direct(h *frame.Header, there []byte) (err error) {
	p := &rd.cur
	n := copy(p.head[:], there[:frame.HeaderLen+h.ExtLen])
	p.h, p.a = *h, nil
	if p.ext, err = frame.ParseExt(p.head[frame.HeaderLen:n]); err != nil {
		return err //nolint:wrapcheck // it says all
	}
	if h.Type == frame.TypeChunk || h.Flags&frame.FlagMore != 0 {
		if p.a, err = rd.assembly(h, &p.ext); err != nil {
			return err
		}
		p.body = rd.c.rx.grow(p.a, h.BodyLen)
	} else {
		p.mem = takeMemory(h.BodyLen)
		p.body = p.mem.b[:h.BodyLen]
	}
	p.rest = p.body[copy(p.body, there[n:]):]
	p.on = true
	rd.r, rd.w = 0, 0
	rd.pass()   // what follows may have to be waited for
	rd.settle() // and the peer may wait for our credit
	return rd.goOn()
}

// goOn reads the rest of a frame's body, and of those that were read with it.
func (rd *reader) goOn() error {
	p := &rd.cur
	for p.on {
		for len(p.rest) > 0 {
			if err := rd.readInto(p); err != nil {
				return err
			}
		}
		p.on = false
		if err := rd.finish(p); err != nil {
			return err
		}
		if err := rd.follow(p); err != nil {
			return err
		}
	}
	return nil
}

// finish hands a frame over, all of which is there.
func (rd *reader) finish(p *partial) error {
	mem := p.mem
	p.mem = nil
	if p.h.Flags&frame.FlagCRC != 0 {
		n := frame.HeaderLen + p.h.ExtLen
		if err := frame.Verify(p.head[:frame.HeaderLen], p.head[frame.HeaderLen:n], p.body); err != nil {
			return err //nolint:wrapcheck // it says all
		}
	}
	if p.a == nil {
		return rd.message(&p.h, &p.ext, p.body, mem)
	}
	return rd.arrived(p.a)
}

// assembly returns the message that a frame belongs to, and checks that it may.
func (rd *reader) assembly(h *frame.Header, e *frame.Ext) (*assembly, error) {
	a := rd.long[h.Seq]
	if h.Type != frame.TypeChunk {
		if a != nil {
			return nil, malformed("%v of seq %d begins inside another one", h.Type, h.Seq)
		}
		return rd.begin(h, e)
	}
	if a == nil {
		return nil, malformed("CHUNK of seq %d belongs to no message", h.Seq)
	}
	n := len(a.body) + h.BodyLen
	if more := h.Flags&frame.FlagMore != 0; n > a.total || more != (n < a.total) {
		return nil, malformed("message with seq %d has %d bytes, %d were announced", h.Seq, n, a.total)
	}
	if err := rd.c.rx.mayHave(a, n); err != nil {
		return nil, err
	}
	if len(a.body) < frame.MessageAllowance {
		return a, rd.hold(a, h.Len())
	}
	return a, nil
}

// hold counts a frame of a long message.
func (rd *reader) hold(a *assembly, n int) error {
	rd.size += rd.c.rx.hold(a, n)
	return rd.c.rx.charge(n)
}

// begin starts a message of several frames.
func (rd *reader) begin(h *frame.Header, e *frame.Ext) (*assembly, error) {
	switch {
	case e.MessageLen > uint64(rd.c.opts.MaxMessage):
		return nil, &frame.Error{Reason: frame.ReasonMessageSize, Text: fmt.Sprintf("%v of %d bytes, at most %d are allowed", h.Type, e.MessageLen, rd.c.opts.MaxMessage)}
	case e.MessageLen <= uint64(h.BodyLen):
		return nil, malformed("%v of seq %d goes on after its %d bytes", h.Type, h.Seq, e.MessageLen)
	}
	ext := *e
	ext.Trace = append([]byte(nil), e.Trace...)
	ext.XID = append([]byte(nil), e.XID...)
	ext.Needs = append([]byte(nil), e.Needs...)
	a := &assembly{h: *h, ext: ext, total: int(e.MessageLen)}
	a.h.Flags &^= frame.FlagMore
	if rd.long == nil {
		rd.long = map[uint64]*assembly{}
	}
	rd.long[h.Seq] = a
	if l := rd.c.lender; l != nil && h.Type == frame.TypeReply {
		if a.mem = l.Lend(rd.c, &a.h, a.total); a.mem != nil {
			a.body = a.mem.b[:0:a.total]
		}
	}
	if h.Type == frame.TypeCall && h.Ack != 0 { // it gives memory back that this message can have
		rd.in = In{Header: frame.Header{Type: frame.TypeAck, Ack: h.Ack}, from: &rd.c.rx}
		rd.c.h.Message(rd.c, &rd.in)
	}
	rd.c.tell(rd.c.rx.reserve(a), false)
	if err := rd.c.rx.mayHave(a, h.BodyLen); err != nil {
		return nil, err
	}
	return a, rd.hold(a, h.Len())
}

// arrived hands a message over if it is complete.
func (rd *reader) arrived(a *assembly) error {
	if len(a.body) < a.total {
		return nil
	}
	delete(rd.long, a.h.Seq)
	h := rd.c.rx.leave(a)
	a.h.BodyLen = a.total
	rd.in = In{Header: a.h, Ext: a.ext, Body: a.body, mem: a.mem, from: &rd.c.rx, held: h}
	return rd.deliver(&rd.in)
}

// message hands over a message of one frame.
func (rd *reader) message(h *frame.Header, e *frame.Ext, body []byte, mem *Memory) error {
	if h.Type == frame.TypeError {
		if _, err := frame.ParseFailure(body); err != nil {
			mem.Release()
			return err //nolint:wrapcheck // it says all
		}
		rd.cancelled(h.Seq) // instead of the rest of a reply
	}
	if err := rd.c.rx.charge(h.Len()); err != nil {
		return err
	}
	rd.in = In{Header: *h, Ext: *e, Body: body, mem: mem, from: &rd.c.rx, held: held{window: h.Len()}}
	return rd.deliver(&rd.in)
}

func (rd *reader) deliver(in *In) error {
	if in.Type == frame.TypeCall && !rd.c.admit(in.Seq) {
		rd.drop(in)
		return nil
	}
	rd.seq = in.Seq
	rd.got++
	if rd.sole = rd.got == 1 && answers(&in.Header); rd.sole {
		rd.refused = rd.c.lend.refused.Load() // before it is seen who waits
		rd.sole = rd.c.lend.waiting() <= 1
	}
	rd.c.h.Message(rd.c, in)
	if !in.kept {
		rd.drop(in)
	}
	return nil
}

// drop lets go of a message that was not kept.
func (rd *reader) drop(in *In) {
	in.mem.Release()
	if in.held.room > 0 {
		rd.c.tell(rd.c.rx.free(in.held, rd.c.nonce()), false)
		return
	}
	rd.size += in.held.window
}

// cancelled drops what has arrived of a message that will not be finished.
func (rd *reader) cancelled(seq uint64) {
	if a := rd.long[seq]; a != nil {
		delete(rd.long, seq)
		a.mem.Release()
		rd.c.tell(rd.c.rx.free(rd.c.rx.leave(a), rd.c.nonce()), false)
	}
}

func malformed(format string, args ...any) error {
	return &frame.Error{Reason: frame.ReasonProtocol, Text: fmt.Sprintf(format, args...)}
}
