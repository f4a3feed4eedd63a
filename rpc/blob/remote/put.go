package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/frame"
	"rpcpool.dev/rpc/giveway"
)

// leastPart is the least that goes over a connection of its own, of a blob whose bytes go
// over several.
const leastPart = 4 << 20

// source is where bytes to be put come from.
type source struct {
	size  uint64
	bytes []byte    // all of them
	r     io.Reader // if they are not in memory
	read  uint64    // of r
	sum   uint32    // of what was read
}

// newSource takes as many bytes as size says out of a reader.
func newSource(r io.Reader, size uint64) (*source, error) {
	s := &source{size: size, r: r}
	if b, ok := r.(*bytes.Reader); ok && uint64(b.Len()) == size {
		var all grabber
		if _, err := b.WriteTo(&all); err == nil && uint64(len(all)) == size {
			s.bytes, s.r = all, nil
		}
	}
	if r == nil && size > 0 {
		return nil, fmt.Errorf("%w: there is none for %d bytes", ErrSource, size)
	}
	return s, nil
}

// grabber gets what is written at once, where it is.
type grabber []byte

// Write implements [io.Writer].
func (g *grabber) Write(b []byte) (int, error) {
	*g = b
	return len(b), nil
}

// put sends the bytes from an offset on, and their checksum.
func (e *end) put(s *source, from uint64) error {
	whole := ready{Length: s.size}
	var err error
	if s.r == nil {
		whole.Sum, err = e.putBytes(s.bytes, from)
	} else {
		whole.Sum, err = e.putReader(s, from)
	}
	if err != nil {
		return err
	}
	return e.send(frame.TypeBulkReady, e.seq, 0, whole.append)
}

func (e *end) putBytes(b []byte, from uint64) (uint32, error) {
	check := sum(0, b[:from])
	for rest := b[from:]; len(rest) > 0; {
		n := min(len(rest), e.chunk)
		check = sum(check, rest[:n])
		if err := e.within(e.client.opts.Patience); err != nil {
			return 0, err
		}
		if err := e.data(e.seq, rest[:n]); err != nil {
			return 0, e.lastWords(err)
		}
		rest = rest[n:]
		giveway.Step()
	}
	return check, nil
}

// putReader sends what a reader has. After a cut it has to be one that can be read again.
func (e *end) putReader(s *source, from uint64) (uint32, error) {
	buf := make([]byte, min(uint64(e.chunk), max(s.size, 1)))
	if err := s.rewind(from, buf); err != nil {
		return 0, err
	}
	for s.read < s.size {
		b := buf[:min(uint64(len(buf)), s.size-s.read)]
		if err := s.fill(b); err != nil {
			give := ready{Code: codeGivenUp, Length: s.read, Text: []byte("its source failed")}
			return 0, errors.Join(err, e.send(frame.TypeBulkReady, e.seq, 0, give.append))
		}
		if err := e.within(e.client.opts.Patience); err != nil {
			return 0, err
		}
		if err := e.data(e.seq, b); err != nil {
			return 0, e.lastWords(err)
		}
		giveway.Step()
	}
	return s.sum, nil
}

// fill reads the next bytes.
func (s *source) fill(b []byte) error {
	n, err := io.ReadFull(s.r, b)
	s.sum = sum(s.sum, b[:n])
	s.read += uint64(n)
	if err != nil {
		return fmt.Errorf("%w: after %d of %d bytes: %w", ErrSource, s.read, s.size, err)
	}
	return nil
}

// rewind goes to an offset at which the server wants the bytes to go on. What is before
// it is read again for its checksum.
func (s *source) rewind(from uint64, buf []byte) error {
	if from == s.read {
		return nil
	}
	back, ok := s.r.(io.Seeker)
	if !ok {
		return fmt.Errorf("%w: %T cannot be read again from %d on after a cut", ErrSource, s.r, from)
	}
	if _, err := back.Seek(-int64(s.read), io.SeekCurrent); err != nil {
		return fmt.Errorf("%w: read again after a cut: %w", ErrSource, err)
	}
	for s.read, s.sum = 0, 0; s.read < from; {
		if err := s.fill(buf[:min(uint64(len(buf)), from-s.read)]); err != nil {
			return err
		}
	}
	return nil
}

// target is what bytes are put to: a range of a blob, or a new one.
type target struct {
	handle         blob.Handle // zero: a new blob
	offset, length uint64
	lend           blob.Rights
}

// transfer puts bytes, by the mover if that can.
func (c *Client) transfer(ctx context.Context, t target, s *source) (blob.Handle, error) {
	if past, err := c.past(s.size, s.r == nil); err != nil {
		return blob.Handle{}, err
	} else if past {
		h, err := c.putPast(ctx, t, s)
		if err = c.passed(s.size, err); err == nil || ctx.Err() != nil || isFinal(err) {
			return h, err
		}
	}
	h, err := c.putConn(ctx, t, s)
	if err == nil {
		c.byConn(s.size)
	}
	return h, err
}

// putConn puts bytes over connections. However often these break, it is done once.
func (c *Client) putConn(ctx context.Context, t target, s *source) (h blob.Handle, err error) {
	number := c.begin()
	defer func() { c.done(number, err) }()
	m := message{Op: opPut, Number: number, Handle: t.handle, Offset: t.offset, Length: t.length, Rights: t.lend, Time: c.retire()}
	err = c.run(ctx, func(e *end) error {
		a, err := e.ask("put", &m)
		if err != nil {
			return err
		}
		if a.Flags&flagDone == 0 {
			if a.Offset > s.size {
				return malformed("server has %d bytes of %d", a.Offset, s.size)
			}
			if err := e.put(s, a.Offset); err != nil {
				return err
			}
			if a, err = e.answer("put"); err != nil {
				return err
			}
		}
		h = a.Handle
		return nil
	})
	return h, err
}

// putParts makes a blob and puts its parts over several connections.
func (c *Client) putParts(ctx context.Context, b []byte, lend blob.Rights) (*Blob, error) {
	made, err := c.Allocate(ctx, uint64(len(b)), lend)
	if err != nil {
		return nil, err
	}
	part := max(leastPart, (len(b)+c.opts.Streams-1)/c.opts.Streams)
	group, within := errgroup.WithContext(ctx)
	for at := 0; at < len(b); at += part {
		piece := b[at:min(at+part, len(b))]
		group.Go(func() error {
			t := target{handle: made.handle, offset: uint64(at), length: uint64(len(piece))}
			_, err := c.transfer(within, t, &source{size: uint64(len(piece)), bytes: piece})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, made.Free(context.WithoutCancel(ctx)))
	}
	return made, nil
}
