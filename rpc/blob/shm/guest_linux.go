package shm

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"rpcpool.dev/rpc/blob"
)

const (
	helloPatience = 5 * time.Second // for one that connects to say who it is
	readPatience  = 2 * time.Second // for a peer to read an answer that it waits for
	mostName      = 64              // bytes
)

// guest is a peer as its host sees it.
type guest struct {
	*socket // nil: the peer is in this process

	host    *Host
	party   blob.PartyID
	account blob.Handle

	passed  map[blob.SegmentID]uint8 // what it has been given: bits of passedRead, passedWrite
	dropped []blob.SegmentID         // of which it is to be told
	poor    bool                     // it could not map something; all by Host.mu
}

const (
	passedRead = 1 << iota
	passedWrite
)

func newGuest(h *Host, c *net.UnixConn) *guest {
	return &guest{socket: newSocket(c), host: h, passed: map[blob.SegmentID]uint8{}}
}

// drop takes back a segment that is gone. The peer is told with the next answer, so
// that nobody ever waits for one that does not read; the memory is free already.
func (g *guest) drop(id blob.SegmentID) {
	if g.passed[id] != 0 {
		delete(g.passed, id)
		g.dropped = append(g.dropped, id)
	}
}

// join makes the guest a party.
func (g *guest) join(name string) error {
	return g.host.with(func(t *blob.Table, now time.Duration) (err error) {
		if g.party, g.account, err = t.Join(now, name[:min(len(name), mostName)], 0); err == nil {
			g.host.guests[g.party] = g
		}
		return err
	})
}

// start serves a guest until it ends.
func (h *Host) start(g *guest, watch bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errors.Join(ErrClosed, g.Close())
	}
	h.open[g.socket] = struct{}{}
	if g.party == 0 {
		h.meet(g)
	}
	var pidfd *os.File
	if watch {
		var err error
		if pidfd, err = process(g.UnixConn); err != nil {
			h.log.Debug("the death of a peer is seen by its connection alone", "error", err)
		}
	}
	if pidfd != nil {
		h.tasks.Go(func() {
			if awaitDeath(pidfd) == nil {
				_ = g.Close()
			}
		})
	}
	h.tasks.Go(func() {
		err := g.serve()
		h.log.Debug("a peer has left", "party", g.party, "reason", err)
		_ = g.Close()
		if pidfd != nil {
			_ = pidfd.Close()
		}
		h.Leave(g.party)
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.open, g.socket)
	})
	return nil
}

// mostStrangers is how many peers may be connected that have not said who they are. Each takes two descriptors
// of this process.
const mostStrangers = 64

// meet notes a stranger. If there are too many, the one goes who has been silent for longest: who means to say
// who he is does so at once.
func (h *Host) meet(g *guest) {
	if len(h.strange) >= mostStrangers {
		_ = h.strange[0].Close()
		h.strange = slices.Delete(h.strange, 0, 1)
		h.refused.Other++
	}
	h.strange = append(h.strange, g)
}

// met notes that a guest has said who it is, or has gone.
func (h *Host) met(g *guest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.strange = slices.DeleteFunc(h.strange, func(o *guest) bool { return o == g })
}

func (g *guest) serve() error {
	err := g.hello()
	if g.host.met(g); err != nil {
		return err
	}
	for {
		m, _, err := g.receive(false)
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		if err != nil {
			return err
		}
		if m.op == opRead {
			if err := g.sendBytes(&m); err != nil {
				return err
			}
			continue
		}
		answer, f, err := g.answer(&m)
		if m.op == opLetGo || m.op == opUnmapped {
			continue
		}
		if err != nil {
			answer = failed(err)
		}
		err = g.reply(&answer, f)
		if f != nil {
			_ = f.Close()
		}
		if err != nil {
			return err
		}
	}
}

func (g *guest) hello() error {
	if g.party == 0 { // else its process may take its time to start
		if err := g.SetReadDeadline(time.Now().Add(g.host.hello)); err != nil {
			return err
		}
	}
	m, _, err := g.receive(false)
	if err != nil {
		return err
	}
	if m.op != opHello {
		return fmt.Errorf("%w: op %d before hello", errMessage, m.op)
	}
	if g.party == 0 { // else its name is known
		var name string
		if name, err = g.host.admit(m.text); err == nil {
			err = g.join(name)
		}
	}
	answer := message{op: opAnswer, handle: g.account, ref: uint64(g.party)}
	if err != nil {
		answer = failed(err)
	}
	return errors.Join(err, g.reply(&answer, nil), g.SetReadDeadline(time.Time{}))
}

// takeDropped returns the segments that the peer is to be told of.
func (g *guest) takeDropped() []blob.SegmentID {
	g.host.mu.Lock()
	defer g.host.mu.Unlock()
	dropped := g.dropped
	g.dropped = nil
	return dropped
}

// Close ends the guest's connection, if it has one.
func (g *guest) Close() error {
	if g.socket == nil {
		return nil
	}
	return g.socket.Close()
}

// reply sends an answer, and before it what else the peer is to know.
func (g *guest) reply(answer *message, f *os.File) error {
	for _, id := range g.takeDropped() {
		if err := g.send(&message{op: opDrop, segment: id}, nil, g.host.read); err != nil {
			return err
		}
	}
	err := g.send(answer, f, g.host.read)
	if f != nil && err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		// It is gone, or too many descriptors are on their way to others: then it hears that one is missing.
		why := err
		if err = g.send(answer, nil, g.host.read); err == nil {
			g.host.mu.Lock()
			g.host.unpassed(why)
			g.host.mu.Unlock()
		}
	}
	return err
}

// unpassed notes that memory could not be passed to a peer, which takes that as if it could not map it.
func (h *Host) unpassed(why error) {
	if h.refused.Memory++; !h.poor {
		h.poor = true
		h.log.Warn("memory of blobs cannot be passed: what others read is copied to them", "error", why)
	}
}

// sendBytes answers a peer that cannot map what it wants to read.
func (g *guest) sendBytes(m *message) error {
	b, err := g.read(m)
	answer := message{op: opAnswer, length: uint64(len(b))}
	if err != nil {
		answer = failed(err)
	}
	if sendErr := g.reply(&answer, nil); sendErr != nil || err != nil {
		return sendErr
	}
	_, err = g.Write(b)
	return err
}

// read copies bytes that a peer may read.
func (g *guest) read(m *message) (b []byte, err error) {
	err = g.host.with(func(t *blob.Table, _ time.Duration) error {
		p, err := t.Locate(g.party, m.call, m.handle)
		switch {
		case err != nil:
			return err
		case m.length == 0 || m.length > mostRead || m.offset > p.Length || m.length > p.Length-m.offset:
			return fmt.Errorf("%w: %d bytes at %d of %d", blob.ErrRange, m.length, m.offset, p.Length)
		}
		at := p.Offset + m.offset
		b = append(b, g.host.segments[p.Segment].bytes[at:at+m.length]...)
		return nil
	})
	return b, err
}

// answer does what a message asks for. The file is to be sent, and then closed.
func (g *guest) answer(m *message) (a message, f *os.File, err error) {
	a.op = opAnswer
	err = g.host.await(func(t *blob.Table, now time.Duration) (err error) {
		var place blob.Place
		switch m.op {
		case opAllocate:
			if a.handle, place, err = t.Allocate(now, g.party, m.length, m.rights); err == nil {
				a.shared, err = t.Share(g.party, a.handle, 0, m.length, m.rights)
			}
		case opShare:
			a.handle, err = t.Share(g.party, m.handle, m.offset, m.length, m.rights)
		case opSlice:
			a.handle, err = t.Slice(m.handle, m.offset, m.length, m.rights)
		case opAcquire:
			var ref blob.RefID
			ref, place, err = t.Acquire(now, g.party, m.handle, m.mode, time.Duration(min(m.lease, 1<<62)))
			a.ref = uint64(ref)
		case opLocate:
			place, err = t.Locate(g.party, m.call, m.handle)
		case opResult:
			var account blob.Handle
			if account, err = g.host.payer(g.party, m.call, m.length); err == nil {
				var result blob.Arg
				result, place, err = t.Extend(now, m.call, g.party, account, m.length)
				a.handle = result.Handle
			}
		case opRelease:
			err = t.Release(now, g.party, blob.RefID(m.ref))
		case opFree, opLetGo:
			err = t.Free(now, g.party, m.handle)
		case opAccept:
			err = t.Accept(g.party, m.handle)
		case opUnmapped:
			err = g.unpass(m)
		default:
			err = fmt.Errorf("%w: op %d", errMessage, m.op)
		}
		looks := m.op != opAcquire || m.mode != blob.Pin
		if err == nil && place.Segment != 0 && looks {
			f = g.pass(&a, place)
		}
		return err
	})
	return a, f, err
}

// unpass notes that a peer does not have what it was given, as it could not map it.
func (g *guest) unpass(m *message) error {
	bit := uint8(passedRead)
	if m.flags&flagWrite != 0 {
		bit = passedWrite
	}
	if g.passed[m.segment]&bit == 0 {
		return fmt.Errorf("%w: segment %d was not passed", errMessage, m.segment)
	}
	g.passed[m.segment] &^= bit
	if g.host.refused.Unmapped++; !g.poor {
		g.poor = true
		g.host.log.Warn("a peer cannot map memory of blobs: what it reads is copied to it", "party", g.party)
	}
	return nil
}

// pass tells where something is, and opens its segment if the peer does not have it. Without a descriptor, the
// peer says that it could not map it.
func (g *guest) pass(a *message, p blob.Place) *os.File {
	segment := g.host.segments[p.Segment]
	a.segment, a.segmentBytes, a.offset, a.length = p.Segment, p.SegmentBytes, p.Offset, p.Length
	bit := uint8(passedRead)
	if p.Write {
		bit = passedWrite
		a.flags |= flagWrite
	}
	if p.Group == g.party {
		a.flags |= flagOwn
	}
	if segment.huge {
		a.flags |= flagHuge
		a.segmentBytes = uint64(len(segment.bytes))
	}
	if g.passed[p.Segment]&bit != 0 {
		return nil
	}
	g.passed[p.Segment] |= bit
	a.flags |= flagFile
	f, err := segment.open(p.Write)
	if err != nil {
		g.host.unpassed(err)
	}
	return f
}
