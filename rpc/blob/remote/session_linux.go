package remote

import (
	"errors"
	"fmt"
	"net"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/frame"
)

// session is a bulk connection as its server sees it.
type session struct {
	server *Server
	link   *link
	party  *party
	line   Line // nil: none
	seq    uint64
	copies bool // COPY was agreed on
	reset  bool // when it ends: the kernel may have pages to send that are somebody else's then
}

func (s *session) serve() error {
	err := s.hello()
	if s.party != nil {
		defer s.party.detach(s)
	}
	for err == nil {
		err = s.turn()
	}
	return err
}

// turn does the next thing that is asked for.
func (s *session) turn() error {
	if err := s.link.within(s.party.lease + s.server.opts.Patience); err != nil {
		return err
	}
	m, err := s.ask()
	if err != nil {
		return err
	}
	if m.Op == opLeave {
		s.server.drop(s.party)
		return errGone
	}
	return s.do(&m)
}

// end closes the connection, and the line first: then nobody reads by it what is
// returned now.
func (s *session) end(err error) {
	s.unline()
	if s.reset {
		if t, ok := s.link.Conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
	} else {
		s.link.farewell(err)
	}
	_ = s.link.Close()
}

func (s *session) unline() {
	if s.line != nil {
		_ = s.line.Close()
		s.line = nil
	}
}

// hello makes the connection one of a party.
func (s *session) hello() error {
	if err := s.link.within(s.server.opts.Patience); err != nil {
		return err
	}
	m, err := s.ask()
	if err != nil {
		return err
	}
	if m.Op != opJoin {
		return malformed("a client asks for %d before it has joined", m.Op)
	}
	p, err := s.server.join(&m)
	if err == nil {
		err = p.attach(s)
	}
	var bad *frame.Error
	switch {
	case errors.As(err, &bad):
		return err
	case err != nil:
		return errors.Join(err, s.refuse(err))
	}
	s.party = p
	p.hear()
	return s.answer(&message{Handle: p.Account(), Time: uint64(p.lease.Milliseconds())})
}

// ask reads what the client asks for.
func (s *session) ask() (message, error) {
	if err := s.link.next(); err != nil {
		return message{}, err
	}
	if s.link.head.Type != frame.TypeBulkAsk || s.link.head.Seq <= s.seq {
		return message{}, malformed("%v with seq %d, %d was asked for last", s.link.head.Type, s.link.head.Seq, s.seq)
	}
	s.seq = s.link.head.Seq
	m, err := parse(s.link.body, false)
	if err == nil && s.party != nil {
		s.party.hear()
		s.party.heed(s.link.head.Ack)
	}
	return m, err
}

func (s *session) answer(m *message) error {
	if err := s.link.within(s.server.opts.Patience); err != nil {
		return err
	}
	return s.link.send(frame.TypeBulkAnswer, s.seq, 0, m.append)
}

func (s *session) refuse(err error) error {
	m := refusal(err)
	return s.answer(&m)
}

// do does what is asked for. It fails if the connection cannot go on.
func (s *session) do(m *message) error {
	switch m.Op {
	case opPut, opAllocate:
		return s.put(m)
	case opCopy:
		return s.copy(m)
	case opGet:
		return s.get(m)
	case opLine:
		return s.connect(m)
	}
	var a message
	p := s.party
	var err error
	switch m.Op {
	case opShare:
		a.Handle, err = p.Share(m.Handle, m.Offset, m.Length, m.Rights)
	case opSlice:
		a.Handle, err = p.Slice(m.Handle, m.Offset, m.Length, m.Rights)
	case opFree:
		err = p.Free(m.Handle)
	case opAccept:
		err = p.Accept(m.Handle)
	case opAcquire:
		err = p.refer(m)
	case opRelease:
		p.unrefer(m.Number)
	case opForget:
		p.forget(m.Number)
	case opRenew:
	default:
		return malformed("a client asks for %d again", m.Op)
	}
	if err != nil {
		return s.refuse(err)
	}
	return s.answer(&a)
}

// connect makes a line past the connection.
func (s *session) connect(m *message) error {
	s.unline()
	if s.server.opts.Mover == nil {
		return s.refuse(fmt.Errorf("%w: there is none", errMover))
	}
	l, err := s.server.opts.Mover.Line()
	if err == nil {
		if err = l.Connect(m.Text); err != nil {
			_ = l.Close()
		}
	}
	if err != nil {
		s.server.failed(s.server.opts.Mover.Reason(err))
		return s.refuse(fmt.Errorf("%w: %w", errMover, err))
	}
	s.line = l
	return s.answer(&message{Text: l.Offer()})
}

// narrow is a handle of the range that a client asks for.
func (s *session) narrow(m *message, rights blob.Rights) (blob.Handle, error) {
	if m.Offset == 0 && m.Length == m.Handle.Length {
		return m.Handle, nil
	}
	return s.party.Slice(m.Handle, m.Offset, m.Length, rights)
}

// progress gives the client time for the next frame, and its lease anew.
func (s *session) progress() error {
	s.party.hear()
	return s.link.SetDeadline(time.Now().Add(s.server.opts.Patience))
}
