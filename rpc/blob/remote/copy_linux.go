package remote

import (
	"fmt"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/giveway"
)

// copy makes a blob that begins with what is in another one. It is a transfer as a put is, but for its bytes, which are there.
func (s *session) copy(m *message) error {
	switch {
	case !s.copies:
		return &frame.Error{Reason: frame.ReasonFeature, Text: "COPY was not agreed on"}
	case m.Number == 0:
		return malformed("a transfer without a number")
	case m.Handle == blob.Handle{}:
		return malformed("a copy of nothing")
	}
	s.party.retire(m.Time)
	t, err := s.party.begin(s, m.Number, func() (*transfer, error) {
		return s.grant(&message{Op: opPut, Length: m.Length, Rights: m.Rights})
	})
	if err != nil {
		return s.refuse(err)
	}
	defer s.party.end(m.Number, t)
	if t.bytes != nil {
		if !t.made || t.at > 0 || t.handle.Length != m.Length {
			return malformed("transfer %d is no copy of %d bytes", m.Number, m.Length)
		}
		s.party.complete(t, s.duplicate(m, t))
	}
	if t.err != nil {
		return s.refuse(t.err)
	}
	return s.answer(&message{Handle: t.handle, Flags: flagDone})
}

// duplicate copies what is asked for to where a transfer has its bytes. Whoever may not get it may not copy it either.
func (s *session) duplicate(m *message, t *transfer) error {
	if m.Offset > m.Length {
		return fmt.Errorf("%w: %d bytes to a blob of %d", blob.ErrRange, m.Offset, m.Length)
	}
	from, err := s.borrow(&message{Handle: m.Handle, Length: m.Offset})
	if err != nil {
		return err
	}
	defer from.Release()
	for at := 0; at < len(from.Bytes); at += giveway.Piece {
		piece := from.Bytes[at:min(at+giveway.Piece, len(from.Bytes))]
		copy(t.bytes.Bytes[at:], piece)
		giveway.Step()
	}
	s.party.hear()
	return nil
}
