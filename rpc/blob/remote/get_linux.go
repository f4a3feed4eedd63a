package remote

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/blob/shm"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/giveway"
)

// get gives the bytes of a range.
func (s *session) get(m *message) error {
	r, err := s.borrow(m)
	if err != nil {
		return s.refuse(err)
	}
	if m.Flags&flagPull != 0 {
		err = s.describe(r)
	} else {
		err = s.give(r, m.Time)
	}
	if err != nil {
		s.cut()
	}
	r.Release()
	return err
}

func (s *session) borrow(m *message) (*shm.Range, error) {
	if m.Time > m.Length {
		return nil, fmt.Errorf("%w: %d bytes of %d are there already", blob.ErrRange, m.Time, m.Length)
	}
	part, err := s.narrow(m, m.Handle.Rights)
	if err != nil {
		return nil, err
	}
	return s.party.Borrow(part, blob.In)
}

// give sends the bytes from at on, and returns when the client has them all.
func (s *session) give(r *shm.Range, at uint64) error {
	whole := uint64(len(r.Bytes))
	if err := s.answer(&message{Length: whole, Offset: at}); err != nil {
		return err
	}
	file, direct := s.link.Conn.(syscall.Conn)
	direct = direct && r.File != nil
	s.reset = direct
	check := sum(0, r.Bytes[:at])
	for at < whole {
		if err := s.progress(); err != nil {
			return err
		}
		n := min(uint64(s.link.chunk), whole-at)
		check = sum(check, r.Bytes[at:at+n])
		var err error
		if direct {
			err = sendFile(file, s.header(n), r.File.Fd(), r.Offset+int64(at), int(n))
		} else {
			err = s.link.data(s.seq, r.Bytes[at:at+n])
		}
		if err != nil {
			return err
		}
		at += n
		giveway.Step()
	}
	if err := s.progress(); err != nil {
		return err
	}
	end := ready{Sum: check, Length: whole}
	if err := s.link.send(frame.TypeBulkReady, s.seq, 0, end.append); err != nil {
		return err
	}
	r.Ending()
	verdict, err := s.verdict()
	if err == nil {
		s.reset = false
		s.server.count(func(m *Moved) { m.conn(whole) })
		if verdict.Code != codeFine {
			s.server.opts.Log.Warn("bytes have not arrived as they were sent", "party", s.party.ID(), "bytes", whole, "text", string(verdict.Text))
		}
	}
	return err
}

func (s *session) header(n uint64) []byte {
	h := frame.Header{Type: frame.TypeBulkData, Seq: s.seq, BodyLen: int(n)}
	s.link.out = append(s.link.out[:0], make([]byte, frame.HeaderLen)...)
	h.Put(s.link.out)
	return s.link.out
}

// verdict is what the client says of the bytes that it has got.
func (s *session) verdict() (ready, error) {
	if err := s.link.next(); err != nil {
		return ready{}, err
	}
	if h := &s.link.head; h.Type != frame.TypeBulkReady || h.Seq != s.seq {
		return ready{}, malformed("%v of %d where READY of %d was due", h.Type, h.Seq, s.seq)
	}
	s.party.hear()
	return parseReady(s.link.body)
}

// cut ends the connection so that what the kernel was to send it does not: the bytes
// may be others' in a moment. Nobody reads past the connection any more either.
func (s *session) cut() {
	s.unline()
	if t, ok := s.link.Conn.(*net.TCPConn); ok && s.reset {
		_ = t.SetLinger(0)
		_ = t.Close()
	}
}

// describe says where the bytes are, and returns when the client's mover has them.
func (s *session) describe(r *shm.Range) error {
	if s.line == nil {
		return s.refuse(fmt.Errorf("%w: there is no line", errMover))
	}
	where, over, err := s.line.Describe(Memory{r.Bytes, r.Segment.Bytes})
	if err == nil && len(where) > mostText {
		over()
		err = fmt.Errorf("%w: it takes %d bytes to say where", ErrMany, len(where))
	}
	if err != nil {
		s.server.failed(s.server.opts.Mover.Reason(err))
		return s.refuse(fmt.Errorf("%w: %w", errMover, err))
	}
	defer over()
	if err := s.answer(&message{Length: uint64(len(r.Bytes)), Flags: flagPull, Text: where}); err != nil {
		return err
	}
	if err := s.forever(); err != nil {
		return err
	}
	r.Ending()
	verdict, err := s.verdict()
	switch {
	case err != nil:
		s.unline() // before over: it may be reading
	case verdict.Code == codeFine:
		s.server.count(func(m *Moved) { m.past(uint64(len(r.Bytes))) })
	default:
		s.unline()
		s.server.failed(ReasonPeer)
	}
	return err
}

// sendFile sends a header, and n bytes of a file behind it, which the kernel takes from
// where they are.
func sendFile(c syscall.Conn, header []byte, file uintptr, offset int64, n int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var why error
	err = raw.Write(func(fd uintptr) bool {
		for n > 0 {
			var sent int
			if len(header) > 0 {
				sent, why = unix.SendmsgN(int(fd), header, nil, nil, unix.MSG_MORE|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
				header = header[max(sent, 0):]
			} else {
				sent, why = unix.Sendfile(int(fd), int(file), &offset, n)
				n -= max(sent, 0)
				if sent == 0 && why == nil {
					why = errors.New("file of a segment is too short")
				}
			}
			switch {
			case errors.Is(why, unix.EAGAIN):
				why = nil
				return false
			case errors.Is(why, unix.EINTR):
				why = nil
			case why != nil:
				return true
			}
		}
		return true
	})
	if err == nil && why != nil {
		err = fmt.Errorf("sendfile: %w", why)
	}
	return err
}

// forever gives the client all the time that its lease gives it.
func (s *session) forever() error { return s.link.within(100 * maxLease) }
