package remote

import (
	"errors"
	"fmt"
	"io"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/giveway"
)

// put takes the bytes of a blob, or only makes it.
func (s *session) put(m *message) error {
	if m.Number == 0 {
		return malformed("a transfer without a number")
	}
	s.party.retire(m.Time)
	t, err := s.party.begin(s, m.Number, func() (*transfer, error) { return s.grant(m) })
	if err != nil {
		return s.refuse(err)
	}
	defer s.party.end(m.Number, t)
	switch {
	case t.bytes == nil && t.err != nil:
		return s.refuse(t.err)
	case t.bytes == nil:
		return s.answer(&message{Handle: t.handle, Offset: t.at, Flags: flagDone})
	case t.handle.Length != m.Length && m.Handle == (blob.Handle{}):
		return malformed("transfer %d has %d bytes, and not %d", m.Number, t.handle.Length, m.Length)
	case m.Flags&flagPull != 0:
		return s.pull(m, t)
	}
	if err := s.answer(&message{Handle: t.handle, Offset: t.at}); err != nil {
		return err
	}
	bytes := uint64(len(t.bytes.Bytes)) // which are given back below
	why, err := s.take(t)
	if err != nil {
		return err
	}
	s.party.complete(t, why)
	s.server.count(func(m *Moved) { m.conn(bytes) })
	if why != nil {
		return s.refuse(fmt.Errorf("transfer %d: %w", m.Number, why))
	}
	return s.answer(&message{Handle: t.handle, Flags: flagDone})
}

// grant allocates what a put needs. Not a byte has come.
func (s *session) grant(m *message) (*transfer, error) {
	t := &transfer{handle: m.Handle}
	var err error
	if m.Handle == (blob.Handle{}) {
		t.made = true
		if t.handle, err = s.party.Allocate(m.Length, m.Rights); err != nil {
			return nil, err
		}
	}
	if m.Op == opAllocate {
		return t, nil
	}
	part := t.handle
	if !t.made {
		if part, err = s.narrow(m, m.Handle.Rights); err != nil {
			return nil, err
		}
	}
	if t.bytes, err = s.party.Borrow(part, blob.InOut); err != nil && t.made {
		_ = s.party.Free(t.handle)
	}
	return t, err
}

// take reads bytes to where they belong, until there are no more. The first error is of
// the transfer, the second of the connection.
func (s *session) take(t *transfer) (why, err error) {
	for {
		if err := s.progress(); err != nil {
			return nil, err
		}
		if err := s.link.next(); err != nil {
			return nil, err
		}
		h := &s.link.head
		if h.Seq != s.seq {
			return nil, malformed("%v of %d within a transfer that was asked for as %d", h.Type, h.Seq, s.seq)
		}
		switch h.Type {
		case frame.TypeBulkData:
			if uint64(h.BodyLen) > uint64(len(t.bytes.Bytes))-t.at {
				return nil, malformed("%d bytes at %d of a transfer of %d", h.BodyLen, t.at, len(t.bytes.Bytes))
			}
			if err := s.fill(t, h.BodyLen); err != nil {
				return nil, err
			}
		case frame.TypeBulkReady:
			r, err := parseReady(s.link.body)
			if err != nil {
				return nil, err
			}
			return t.check(&r), nil
		default:
			return nil, malformed("%v within a transfer", h.Type)
		}
	}
}

// fill reads n bytes into the memory of a transfer. What has come counts, also if the
// rest does not.
func (s *session) fill(t *transfer, n int) error {
	for n > 0 {
		got, err := s.link.in.Read(t.bytes.Bytes[t.at : t.at+uint64(n)])
		t.sum = sum(t.sum, t.bytes.Bytes[t.at:t.at+uint64(got)])
		t.at += uint64(got)
		giveway.Step()
		n -= got
		if err != nil && n > 0 {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("in bytes: %w", err)
		}
	}
	return nil
}

// check holds what has come against what was sent.
func (t *transfer) check(r *ready) error {
	switch whole := uint64(len(t.bytes.Bytes)); {
	case r.Code != codeFine:
		return fmt.Errorf("%w: %s", errGivenUp, r.Text)
	case t.at != whole || r.Length != whole:
		return fmt.Errorf("%w: %d bytes of %d have come, %d were sent", blob.ErrRange, t.at, whole, r.Length)
	case t.sum != r.Sum:
		return fmt.Errorf("%w: %d bytes have %#x, and had %#x when they were sent", ErrChecksum, whole, t.sum, r.Sum)
	}
	return nil
}

// pull has the mover fetch the bytes of a transfer from the client's memory.
func (s *session) pull(m *message, t *transfer) error {
	if s.line == nil {
		return s.refuse(fmt.Errorf("%w: there is no line", errMover))
	}
	ctx, cancel, err := s.party.keep(t)
	if err != nil {
		return s.refuse(err)
	}
	err = s.line.Pull(ctx, Memory{t.bytes.Bytes, t.bytes.Segment.Bytes}, m.Text)
	cancel()
	if errors.Is(err, ErrStuck) {
		s.server.opts.Log.Error("memory of a blob is lost", "party", s.party.ID(), "bytes", len(t.bytes.Bytes), "err", err)
		t.bytes.Lose()
	}
	if err != nil {
		s.unline()
		s.server.failed(s.server.opts.Mover.Reason(err))
		why := fmt.Errorf("%w: %w", errMover, err)
		s.party.complete(t, why)
		return s.refuse(why)
	}
	bytes := uint64(len(t.bytes.Bytes)) // which are given back below
	s.party.complete(t, nil)
	s.server.count(func(m *Moved) { m.past(bytes) })
	return s.answer(&message{Handle: t.handle, Flags: flagDone})
}
