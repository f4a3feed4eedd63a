package conn

import (
	"context"
	"time"

	"rpcpool.dev/rpc/frame"
)

// control handles a control frame. What is not the connection's own goes to the
// handler.
func (c *Conn) control(rd *reader, h *frame.Header, e *frame.Ext, body []byte) error {
	switch h.Type {
	case frame.TypeHello, frame.TypeHelloAck:
		return malformed("%v after the handshake", h.Type)
	case frame.TypeCredit:
		limit, err := frame.ParseCredit(body)
		if err == nil {
			c.snd.credit(h.Seq, uint64(limit))
		}
		return err //nolint:wrapcheck // it says all
	case frame.TypePing:
		return c.answer(h.Seq)
	case frame.TypePong:
		c.pong(h.Seq)
		return nil
	case frame.TypeGoAway:
		if _, err := frame.ParseGoAway(body); err != nil {
			return err //nolint:wrapcheck // it says all
		}
		defer c.Shut()
	case frame.TypeBind:
		if err := frame.CheckMethodName(body); err != nil {
			return err //nolint:wrapcheck // it says all
		}
	case frame.TypeCancel:
		rd.cancelled(h.Seq)
	default:
		if err := checkSession(h.Type, body); err != nil {
			return err
		}
	}
	rd.in = In{Header: *h, Ext: *e, Body: body, from: &c.rx}
	c.h.Message(c, &rd.in)
	return nil
}

// checkSession fails if the body of a session's frame is not what it must be.
func checkSession(t frame.Type, body []byte) error {
	var err error
	switch t {
	case frame.TypeOpen:
		_, err = frame.ParseOpen(body)
	case frame.TypeWelcome:
		_, err = frame.ParseWelcome(body)
	case frame.TypeFence:
		_, err = frame.ParseFence(body)
	case frame.TypeRenewed:
		_, err = frame.ParseRenewed(body)
	case frame.TypeItems:
		_, err = frame.ParseCredit(body)
	case frame.TypeBlobOffer:
		if len(body) > 0 { // of a client: it asks for one
			_, err = frame.ParseBlobOffer(body)
		}
	case frame.TypeBlobGrant:
		_, _, err = frame.ParseBlobGrant(body)
	}
	return err //nolint:wrapcheck // it says all
}

// answer answers a ping. A peer that sends pings and does not read is left.
func (c *Conn) answer(nonce uint64) error {
	if err := c.Queue(&Message{Header: frame.Header{Type: frame.TypePong, Seq: nonce}}); err != nil {
		return &frame.Error{Reason: frame.ReasonOverload, Text: "pings are sent, answers are not read"}
	}
	return nil
}

// nonce is the time since the connection began, which makes a PONG tell the
// round trip.
func (c *Conn) nonce() uint64 { return uint64(time.Since(c.start)) | 1 }

func (c *Conn) pong(nonce uint64) {
	if now := uint64(time.Since(c.start)); nonce <= now {
		c.rtt.Store(int64(now - nonce))
	}
	c.rx.pong(nonce)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pings != nil {
		close(c.pings)
		c.pings = nil
	}
}

// ping sends a ping and waits for no answer.
func (c *Conn) ping() error {
	return c.TrySend(&Message{Header: frame.Header{Type: frame.TypePing, Seq: c.nonce()}})
}

// Ping waits for an answer of the peer, and returns the round trip.
func (c *Conn) Ping(ctx context.Context) (time.Duration, error) {
	c.mu.Lock()
	if c.pings == nil {
		c.pings = make(chan struct{})
	}
	answer := c.pings
	c.mu.Unlock()
	if err := c.ping(); err != nil {
		return 0, err
	}
	select {
	case <-answer:
		return c.RTT(), nil
	case <-c.done:
		return 0, c.Err()
	case <-ctx.Done():
		return 0, context.Cause(ctx) //nolint:wrapcheck // the caller's own reason
	}
}

// tell says to the peer what the receiver has decided. The reader does not write
// at once: it will, when it has handled all that it has read.
func (c *Conn) tell(n notice, write bool) {
	say := func(h frame.Header, body []byte) {
		// If there is no room even for this, the peer is about to be found dead.
		_ = c.snd.send(nil, &Message{Header: h, Body: body}, write) //nolint:staticcheck // nil: do not wait
	}
	if n.limit != 0 {
		say(frame.Header{Type: frame.TypeCredit}, frame.Credit(n.limit).Append(nil))
	}
	if n.probe != 0 {
		say(frame.Header{Type: frame.TypePing, Seq: n.probe}, nil)
	}
	for _, g := range n.grants {
		say(frame.Header{Type: frame.TypeCredit, Seq: g.Seq}, frame.Credit(g.Ack).Append(nil))
	}
}
