package remote

import (
	"context"
	"errors"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/frame"
)

// past tells whether bytes are to go past the connection.
func (c *Client) past(size uint64, inMemory bool) (bool, error) {
	o := &c.opts
	if o.Mode == Off || o.Mover == nil {
		return false, nil
	}
	unready := o.Mover.Ready()
	c.mu.Lock()
	defer c.mu.Unlock()
	why := ""
	switch {
	case size < o.MinMove:
		why = ReasonSmall
	case !inMemory:
		why = ReasonStream
	case unready != nil:
		why = o.Mover.Reason(unready)
	case o.Mode == Auto && o.now() < c.moves.until:
		why = ReasonWaiting
	default:
		return true, nil
	}
	if o.Mode == Required && why != ReasonSmall {
		return false, &MoverError{Reason: why, Err: unready}
	}
	c.moved.failed(why)
	return false, nil
}

// goes tells whether bytes go past the connection now, as far as this side knows.
func (c *Client) goes() bool {
	o := &c.opts
	if o.Mode == Off || o.Mover == nil || o.Mode == Auto && o.Mover.Ready() != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return o.Mode == Required || o.now() >= c.moves.until
}

// passed is how a transfer of so many bytes past the connection ended. If it failed, and
// need not go this way, the error is not final.
func (c *Client) passed(bytes uint64, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var no *RefusedError
	switch {
	case err == nil:
		c.moved.past(bytes)
		c.moves.pause = 0
		return nil
	case errors.As(err, &no) && !errors.Is(err, errMover), errors.Is(err, ErrStuck), errors.Is(err, ErrLost), errors.Is(err, ErrClosed):
		return err // it would not go the other way either
	}
	why := ReasonConn
	var line *lineError
	if no != nil {
		why = ReasonPeer
	} else if errors.As(err, &line) {
		why = c.opts.Mover.Reason(line.error)
	}
	c.moved.failed(why)
	if c.opts.Mode == Required {
		return &MoverError{Reason: why, Err: err}
	}
	c.moves.failed(c.opts.now())
	c.opts.Log.Warn("bytes go by TCP", "reason", why, "err", err)
	return errFallBack
}

// lineError is what a mover says.
type lineError struct{ error }

func (e *lineError) Unwrap() error { return e.error }

// errFallBack means that bytes have to go by the connection.
var errFallBack = errors.New("bytes go by the connection")

// connect makes a line past the connection, if there is none that is of use.
func (e *end) connect() error {
	if e.line != nil && e.line.Err() == nil {
		return nil
	}
	e.unline()
	l, err := e.client.opts.Mover.Line()
	if err != nil {
		return &lineError{err}
	}
	a, err := e.ask("connect past the connection", &message{Op: opLine, Text: l.Offer()})
	if err == nil {
		if err = l.Connect(a.Text); err != nil {
			err = &lineError{err}
		}
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	e.line = l
	return nil
}

// unline ends a line that has failed.
func (e *end) unline() {
	if e.line != nil {
		_ = e.line.Close()
		e.line = nil
	}
}

// putPast says where bytes are, and waits until the server has pulled them.
func (c *Client) putPast(ctx context.Context, t target, s *source) (h blob.Handle, err error) {
	number := c.begin()
	defer func() { c.done(number, err) }()
	m := message{Op: opPut, Flags: flagPull, Number: number, Handle: t.handle, Offset: t.offset, Length: t.length, Rights: t.lend, Time: c.retire()}
	err = c.once(ctx, func(e *end) error {
		if err := e.connect(); err != nil {
			return err
		}
		where, over, err := e.line.Describe(Memory{Bytes: s.bytes})
		if err != nil {
			e.unline()
			return &lineError{err}
		}
		defer over()
		m.Text = where
		a, err := e.askLong("put", &m)
		if err != nil {
			e.unline() // before over: it may be reading
			return err
		}
		h = a.Handle
		return nil
	})
	return h, err
}

// getPast asks where bytes are, and pulls them.
func (c *Client) getPast(ctx context.Context, m message, s *sink) error {
	m.Flags |= flagPull
	return c.once(ctx, func(e *end) error {
		if err := e.connect(); err != nil {
			return err
		}
		a, err := e.ask("get", &m)
		if err != nil {
			if errors.Is(err, errMover) {
				e.unline()
			}
			return err
		}
		verdict := ready{Length: s.size}
		if a.Length != s.size {
			return malformed("server gives %d bytes, %d were asked for", a.Length, s.size)
		}
		if err = e.line.Pull(ctx, Memory{Bytes: s.bytes}, append([]byte(nil), a.Text...)); err != nil {
			e.unline()
			err = &lineError{err}
			verdict.Code, verdict.Text = codeMover, cut([]byte(err.Error()))
		}
		if e.within(e.client.opts.Patience) == nil {
			_ = e.send(frame.TypeBulkReady, e.seq, 0, verdict.append)
		}
		return err
	})
}

// askLong asks for what takes as long as it takes; the lease is renewed over others.
func (e *end) askLong(what string, m *message) (message, error) {
	if err := e.say(m); err != nil {
		return message{}, err
	}
	if err := e.within(100 * maxLease); err != nil {
		return message{}, err
	}
	return e.answer(what)
}
