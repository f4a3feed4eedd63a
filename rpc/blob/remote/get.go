package remote

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/giveway"
)

// sink is where bytes that are got go.
type sink struct {
	size  uint64
	bytes []byte    // room for all of them
	w     io.Writer // if they do not go to memory
	buf   []byte    // for w
	at    uint64    // bytes that are there
	sum   uint32    // of these
}

// Get reads as many bytes as there is room for, from an offset of a handle's range.
func (c *Client) Get(ctx context.Context, h blob.Handle, offset uint64, b []byte) error {
	parts := min(c.opts.Streams, len(b)/leastPart)
	if parts < 2 {
		return c.fetch(ctx, h, offset, &sink{size: uint64(len(b)), bytes: b})
	}
	part := (len(b) + parts - 1) / parts
	group, within := errgroup.WithContext(ctx)
	for at := 0; at < len(b); at += part {
		piece := b[at:min(at+part, len(b))]
		group.Go(func() error {
			return c.fetch(within, h, offset+uint64(at), &sink{size: uint64(len(piece)), bytes: piece})
		})
	}
	return group.Wait()
}

// GetTo writes a range of a handle's range to w. If it fails, some of it may have been
// written.
func (c *Client) GetTo(ctx context.Context, h blob.Handle, offset, length uint64, w io.Writer) error {
	return c.fetch(ctx, h, offset, &sink{size: length, w: w})
}

// fetch gets bytes, by the mover if that can.
func (c *Client) fetch(ctx context.Context, h blob.Handle, offset uint64, s *sink) error {
	c.hold()
	defer c.unhold()
	m := message{Op: opGet, Handle: h, Offset: offset, Length: s.size}
	if past, err := c.past(s.size, s.w == nil); err != nil {
		return err
	} else if past {
		err := c.passed(s.size, c.getPast(ctx, m, s))
		if err == nil || ctx.Err() != nil || isFinal(err) {
			return err
		}
	}
	err := c.run(ctx, func(e *end) error { return e.get(m, s) })
	if err == nil {
		c.byConn(s.size)
	}
	return err
}

// get gets what is missing.
func (e *end) get(m message, s *sink) error {
	m.Time = s.at
	a, err := e.ask("get", &m)
	if err != nil {
		return err
	}
	if a.Length != s.size {
		return malformed("server gives %d bytes, %d were asked for", a.Length, s.size)
	}
	for {
		if err := e.within(e.client.opts.Patience); err != nil {
			return err
		}
		if err := e.next(); err != nil {
			return err
		}
		switch {
		case e.head.Seq != e.seq:
			return malformed("%v of %d within what was asked for as %d", e.head.Type, e.head.Seq, e.seq)
		case e.head.Type == frame.TypeBulkData:
			if uint64(e.head.BodyLen) > s.size-s.at {
				return malformed("%d bytes at %d of %d", e.head.BodyLen, s.at, s.size)
			}
			if err := s.take(e.in, e.head.BodyLen); err != nil {
				return err
			}
		case e.head.Type == frame.TypeBulkReady:
			r, err := parseReady(e.body)
			if err != nil {
				return err
			}
			return e.judge(s, &r, m.Handle)
		default:
			return malformed("%v within bytes", e.head.Type)
		}
	}
}

// judge holds what has come against what was sent, and tells the server.
func (e *end) judge(s *sink, r *ready, h blob.Handle) error {
	verdict := ready{Sum: s.sum, Length: s.at}
	var why error
	if s.at != s.size || r.Length != s.size || s.sum != r.Sum {
		why = fmt.Errorf("%w: get of %v: %d bytes of %d have %#x, and had %#x when they were sent", ErrChecksum, h, s.at, s.size, s.sum, r.Sum)
		verdict.Code, verdict.Text = codeChecksum, []byte(why.Error())
	}
	if err := e.send(frame.TypeBulkReady, e.seq, 0, verdict.append); err != nil && why == nil {
		return nil //nolint:nilerr // all is there; the next who uses the connection sees it
	}
	if why != nil {
		return &RefusedError{What: "get", Text: why.Error(), kind: ErrChecksum}
	}
	return nil
}

// take takes n bytes. What has come counts, also if the rest does not.
func (s *sink) take(r io.Reader, n int) error {
	for n > 0 {
		room := s.buf
		if s.w == nil {
			room = s.bytes[s.at:]
		} else if room == nil {
			s.buf = make([]byte, min(s.size, mostChunk))
			room = s.buf
		}
		got, err := r.Read(room[:min(n, len(room))])
		if s.w != nil && got > 0 {
			if _, err := s.w.Write(room[:got]); err != nil {
				return fmt.Errorf("%w: after %d of %d bytes: %w", ErrSink, s.at, s.size, err)
			}
		}
		s.sum = sum(s.sum, room[:got])
		s.at += uint64(got)
		giveway.Step()
		if n -= got; err != nil && n > 0 {
			return fmt.Errorf("in bytes: %w", err)
		}
	}
	return nil
}
