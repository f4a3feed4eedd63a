package conn

import "rpcpool.dev/rpc/frame"

const (
	// maxAhead is how many chunks behind the one that is being read are read
	// with it, so that a long message takes few system calls.
	maxAhead = 3
	// readAhead is how much of what comes behind them is read too, in bytes: the
	// next header is among it, and the less of the next body, which must be
	// copied, the better.
	readAhead = 512
)

// ahead is what one read brings beyond the frame that it is for. After a chunk
// of a message that has its memory, most likely the next ones come: their bodies
// are read to where they belong, and headers, as well as what comes behind, to the
// reader's buffer, which is empty. If something else came, it is spilled: copied
// to a buffer that is long enough.
type ahead struct {
	iov    [2 + 2*maxAhead][]byte
	bodies [maxAhead][]byte
	n      int     // chunks that are expected
	at     int     // the one that comes next
	got    int     // bytes that have come, from its header on
	spill  *Memory // the reader's buffer, for now
	own    []byte  // the reader's buffer, else
}

// expect says where the chunks behind a frame belong.
func (a *ahead) expect(p *partial) {
	a.n, a.at, a.got = 0, 0, 0
	if p.a == nil || p.h.Flags&frame.FlagMore == 0 || cap(p.a.body) < p.a.total {
		return
	}
	left := p.a.body[len(p.a.body):p.a.total]
	for ; a.n < maxAhead && len(left) > 0; a.n++ {
		n := min(p.h.BodyLen, len(left))
		a.bodies[a.n], left = left[:n], left[n:]
	}
}

// readInto reads the rest of a frame's body, and what comes behind.
func (rd *reader) readInto(p *partial) (err error) {
	a := &rd.ahead
	var n int
	if rd.try != nil {
		a.expect(p)
		a.iov[0] = p.rest
		for i, body := range a.bodies[:a.n] {
			a.iov[1+2*i], a.iov[2+2*i] = rd.head(i), body
		}
		behind := a.n * frame.HeaderLen
		a.iov[1+2*a.n] = rd.buf[behind : behind+readAhead]
		n, err = rd.try.read(a.iov[:2+2*a.n])
		clear(a.iov[:])
	} else {
		n, err = rd.c.nc.Read(p.rest)
	}
	rd.c.hear()
	if n == 0 {
		if rd.recalled(err) {
			return nil
		}
		return rd.readError(err)
	}
	a.got = max(n-len(p.rest), 0)
	p.rest = p.rest[n-a.got:]
	return nil
}

// head returns where the header of an expected chunk is read to.
func (rd *reader) head(i int) []byte {
	return rd.buf[i*frame.HeaderLen : (i+1)*frame.HeaderLen]
}

// follow goes on, after a frame, with what was read behind it.
func (rd *reader) follow(p *partial) error {
	a := &rd.ahead
	switch {
	case a.at == a.n || a.got < frame.HeaderLen:
		at := a.at * frame.HeaderLen
		rd.r, rd.w = 0, copy(rd.buf, rd.buf[at:at+a.got])
		return nil
	case !rd.expected(p):
		rd.spillOver()
		return nil
	}
	body := a.bodies[a.at]
	n := min(a.got-frame.HeaderLen, len(body))
	a.at++
	a.got -= frame.HeaderLen + n
	var err error
	if p.a, err = rd.assembly(&p.h, &p.ext); err != nil {
		return err
	}
	p.body = rd.c.rx.grow(p.a, len(body))
	p.rest, p.on = p.body[n:], true
	if len(p.rest) > 0 {
		rd.settle() // what follows may have to wait
	}
	return nil
}

// expected tells whether the next header is that of the chunk that is expected,
// and if so, makes it the current one.
func (rd *reader) expected(p *partial) bool {
	a := &rd.ahead
	head := rd.head(a.at)
	h, err := frame.ParseHeader(head, rd.c.opts.MaxFrame)
	if err != nil || h.Type != frame.TypeChunk || h.Seq != p.h.Seq || h.ExtLen != 0 || h.BodyLen != len(a.bodies[a.at]) {
		return false // if it is malformed, frames will say so
	}
	copy(p.head[:], head)
	p.h, p.ext = h, frame.Ext{}
	return true
}

// spillOver makes what was read the reader's buffer, in one piece.
func (rd *reader) spillOver() {
	a := &rd.ahead
	mem := takeMemory(a.got + bufferSize) // with room for what fill reads behind it
	b := mem.b[:0]
	for i := a.at; i < a.n; i++ {
		b = append(b, rd.head(i)[:min(frame.HeaderLen, a.got-len(b))]...)
		b = append(b, a.bodies[i][:min(len(a.bodies[i]), a.got-len(b))]...)
	}
	behind := a.n * frame.HeaderLen
	b = append(b, rd.buf[behind:behind+a.got-len(b)]...)
	rd.unspill()
	a.own, a.spill = rd.buf, mem
	rd.buf, rd.r, rd.w = mem.b, 0, len(b)
}

// unspill gives a buffer back that is empty.
func (rd *reader) unspill() {
	a := &rd.ahead
	if a.spill != nil {
		rd.buf = a.own
		a.spill.Release()
		a.spill, a.own = nil, nil
	}
}
