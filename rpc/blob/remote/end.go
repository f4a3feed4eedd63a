package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

// end is a client's end of a connection.
type end struct {
	*link

	client *Client
	seq    uint64
	line   Line // nil: none
}

func (e *end) close() {
	if e.line != nil {
		_ = e.line.Close()
		e.line = nil
	}
	_ = e.Close()
}

// backoff is when something that failed may be tried again.
type backoff struct {
	first, most time.Duration
	pause       time.Duration
	until       time.Duration
}

func (b *backoff) failed(now time.Duration) time.Duration {
	b.pause = min(max(2*b.pause, b.first), b.most)
	b.until = now + b.pause
	return b.pause
}

// run does something over a connection. If that breaks, it does it again over another
// one, for a while.
func (c *Client) run(ctx context.Context, do func(*end) error) error {
	return c.runFor(ctx, c.opts.Retry, do)
}

// runFor is run for a while of that length.
func (c *Client) runFor(ctx context.Context, retry time.Duration, do func(*end) error) error {
	again := backoff{first: 20 * time.Millisecond, most: 2 * time.Second}
	begun := c.opts.now()
	for first := true; ; first = false {
		err := c.once(ctx, do)
		switch {
		case err == nil || isFinal(err):
			return err
		case ctx.Err() != nil:
			return errors.Join(context.Cause(ctx), err)
		case c.opts.now() >= begun+retry:
			return fmt.Errorf("given up after %v: %w", retry, err)
		}
		c.opts.Log.Debug("a bulk connection broke", "err", err)
		pause := again.failed(0)
		if first {
			pause = 0
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2+1)): //nolint:gosec // no secret
		case <-ctx.Done():
		}
	}
}

// isRefused tells whether a server has said no.
func isRefused(err error) bool {
	var no *RefusedError
	return errors.As(err, &no)
}

// isFinal tells whether another connection would not help.
func isFinal(err error) bool {
	var bad *frame.Error
	var past *MoverError
	switch {
	case isRefused(err), errors.As(err, &past), errors.Is(err, ErrLost), errors.Is(err, ErrClosed), errors.Is(err, ErrSource), errors.Is(err, ErrSink), errors.Is(err, ErrStuck):
		return true
	case errors.As(err, &bad):
		return bad.Reason != frame.ReasonShutdown && bad.Reason != frame.ReasonOverload && bad.Reason != frame.ReasonTimeout
	}
	return false
}

// once does something over a connection, once.
func (c *Client) once(ctx context.Context, do func(*end) error) error {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.ended.Done():
		return ErrClosed
	}
	e, err := c.take(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = e.Close() })
	err = do(e)
	whole := stop() && (err == nil || isRefused(err))
	c.give(e, whole)
	if err != nil && !isRefused(err) && ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return err
}

// take takes a connection that is free, the last one first, or makes one.
func (c *Client) take(ctx context.Context) (*end, error) {
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	if n := len(c.free); n > 0 {
		e := c.free[n-1]
		c.free = c.free[:n-1]
		c.mu.Unlock()
		return e, nil
	}
	c.mu.Unlock()
	return c.dial(ctx)
}

func (c *Client) give(e *end, whole bool) {
	c.mu.Lock()
	if whole && c.err == nil {
		c.free = append(c.free, e)
		c.said = c.opts.now()
		c.mu.Unlock()
		return
	}
	delete(c.open, e)
	c.mu.Unlock()
	e.close()
}

// dial makes a connection, and joins.
func (c *Client) dial(ctx context.Context) (*end, error) {
	dialling, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	nc, err := c.opts.Dial(dialling)
	if err != nil {
		return nil, err
	}
	ack, err := conn.Shake(ctx, nc, frame.Hello{
		Limits:   frame.Limits{MaxFrame: mostChunk, MaxMessage: mostChunk, Window: frame.MessageAllowance},
		Features: frame.FeatureBulk | frame.FeatureBulkCopy, Required: frame.FeatureBulk, Token: c.opts.Token, Target: c.opts.Target,
	}, dialPatience)
	if err != nil {
		return nil, err
	}
	e := &end{link: newLink(nc, ack.Limits), client: c}
	c.mu.Lock()
	c.copies = ack.Features&frame.FeatureBulkCopy != 0
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, errors.Join(c.err, nc.Close())
	}
	c.open[e] = struct{}{}
	c.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	if err := c.join(e); err != nil {
		c.give(e, false)
		return nil, err
	}
	return e, nil
}

// join makes the connection one of this client.
func (c *Client) join(e *end) error {
	m := message{Op: opJoin, Secret: c.secret, Text: []byte(c.opts.Name[:min(len(c.opts.Name), mostName)]), Time: uint64(c.opts.Lease.Milliseconds())}
	c.mu.Lock()
	if c.known {
		m.Flags = flagKnown
	}
	c.mu.Unlock()
	a, err := e.ask("join", &m)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil && !c.known:
		c.known, c.account, c.lease = true, a.Handle, a.lease()
	case c.known && errors.Is(err, blob.ErrParty):
		if c.err == nil {
			c.err = fmt.Errorf("%w: %w", ErrLost, err)
		}
		return c.err
	}
	return err
}

// ask asks for something that has no bytes.
func (c *Client) ask(ctx context.Context, what string, m *message) (a message, err error) {
	c.hold()
	defer c.unhold()
	err = c.run(ctx, func(e *end) (err error) {
		a, err = e.ask(what, m)
		return err
	})
	return a, err
}

// ask asks, and waits for the answer.
func (e *end) ask(what string, m *message) (message, error) {
	if err := e.say(m); err != nil {
		return message{}, err
	}
	return e.answer(what)
}

func (e *end) say(m *message) error {
	e.seq++
	if err := e.within(e.client.opts.Patience); err != nil {
		return err
	}
	return e.send(frame.TypeBulkAsk, e.seq, e.client.ack(), m.append)
}

// answer waits for one. Its text is good until the next frame comes.
func (e *end) answer(what string) (message, error) {
	if err := e.due(frame.TypeBulkAnswer); err != nil {
		return message{}, err
	}
	a, err := parse(e.body, true)
	if err != nil {
		return message{}, err
	}
	return a, refused(what, a.Code, a.Text, a.Time)
}

// due waits for a frame of a type.
func (e *end) due(t frame.Type) error {
	if err := e.next(); err != nil {
		return err
	}
	if e.head.Type != t || e.head.Seq != e.seq {
		return malformed("%v of %d where %v of %d was due", e.head.Type, e.head.Seq, t, e.seq)
	}
	return nil
}

// lastWords is why the server has ended a connection that cannot be written to any more,
// if it has said so.
func (e *end) lastWords(err error) error {
	if e.SetReadDeadline(time.Now().Add(linger)) != nil {
		return err
	}
	for {
		switch why := e.next(); {
		case why == nil && e.head.Type == frame.TypeBulkAnswer:
			if a, bad := parse(e.body, true); bad == nil && a.Code != codeFine {
				return refused("put", a.Code, a.Text, a.Time)
			}
		case errors.Is(why, errGone), errors.Is(why, io.ErrUnexpectedEOF), errors.Is(why, net.ErrClosed):
			return err
		default:
			var bad *frame.Error
			if errors.As(why, &bad) {
				return why
			}
			return err
		}
	}
}
