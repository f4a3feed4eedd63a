package tracker

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"rpcpool.dev/tvm"
)

// fewHandoffs is how many grants one frame causes without an allocation; it is
// nearly always none or one.
const fewHandoffs = 2

// handle answers one frame. Replies to its sender are gathered; grants are sent
// at once. An error closes the connection.
func (s *Server) handle(c *conn, payload []byte) error {
	message, err := tvm.ParseMessage(payload)
	switch {
	case errors.Is(err, tvm.ErrUnknownCode):
		return reject(rejectUnknownCode, err)
	case err != nil:
		return reject(rejectBadMessage, err)
	}
	s.frames[message.Code()].Add(1)
	now := s.options.Clock.Now()
	switch m := message.(type) {
	case tvm.Put:
		return s.put(c, m, now)
	case tvm.Request:
		return s.request(c, m, now)
	case tvm.UpdateInfo:
		return s.update(c, m, now)
	case tvm.GetPendingMatchKeys:
		return s.pending(c, now)
	case tvm.Summary:
		return s.summary(c, now)
	case tvm.Stop:
		return s.stopRequested(c, m, now)
	default:
		c.status(tvm.CodeSuccess)
		return s.seen(c, now)
	}
}

func (s *Server) put(c *conn, m tvm.Put, now time.Time) error {
	var few [fewHandoffs]handoff
	s.mu.Lock()
	out, err := s.registry.put(&c.peer, now, m, few[:0])
	s.unlock()
	if err == nil {
		c.status(tvm.CodeSuccess)
	}
	return errors.Join(s.deliver(c, out, now), refusal("PUT", err))
}

func (s *Server) request(c *conn, m tvm.Request, now time.Time) error {
	var few [fewHandoffs]handoff
	s.mu.Lock()
	out, err := s.registry.request(&c.peer, now, m, few[:0])
	s.unlock()
	return errors.Join(s.deliver(c, out, now), refusal("REQUEST", err))
}

func (s *Server) update(c *conn, m tvm.UpdateInfo, now time.Time) error {
	var few [fewHandoffs]handoff
	s.mu.Lock()
	out, registered, err := s.registry.update(&c.peer, now, m, few[:0])
	s.unlock()
	if err == nil {
		c.status(tvm.CodeSuccess)
	}
	if registered {
		s.options.Logger.Info("server registered", "key", c.peer.key, "peer", c.peer.addr)
	}
	return errors.Join(s.deliver(c, out, now), refusal("UPDATE_INFO", err))
}

func (s *Server) pending(c *conn, now time.Time) error {
	var few [fewHandoffs]handoff
	s.mu.Lock()
	keys, out := s.registry.pending(&c.peer, now, few[:0])
	s.unlock()
	b := c.gather()
	start := len(b.b)
	b.b = tvm.EndFrame(tvm.AppendMatchKeys(tvm.BeginFrame(b.b), keys), start)
	return s.deliver(c, out, now)
}

func (s *Server) seen(c *conn, now time.Time) error {
	var few [fewHandoffs]handoff
	s.mu.Lock()
	out := s.registry.seen(&c.peer, now, few[:0])
	s.unlock()
	return s.deliver(c, out, now)
}

func (s *Server) summary(c *conn, now time.Time) error {
	if err := s.seen(c, now); err != nil {
		return err
	}
	full, err := s.summarise(c, now)
	if full != nil {
		<-full
	}
	return err
}

// summarise gathers a summary, or posts it if it is long: one connection at a
// time, so that the memory of summaries that are being made does not grow with
// the number of those who ask.
func (s *Server) summarise(c *conn, now time.Time) (full <-chan struct{}, err error) {
	s.summaries.Lock()
	defer s.summaries.Unlock()
	b := c.gather()
	start := len(b.b)
	payload, err := s.snapshot(now).reply().AppendPayload(tvm.BeginFrame(b.b))
	if err != nil {
		return nil, fmt.Errorf("summary: %w", err)
	}
	b.b = tvm.EndFrame(payload, start)
	if len(b.b) < flushReplies {
		return nil, nil
	}
	return c.post()
}

func (s *Server) stopRequested(c *conn, m tvm.Stop, now time.Time) error {
	secret := s.options.StopKey
	if secret != "" && subtle.ConstantTimeCompare([]byte(m.Key), []byte(secret)) == 1 {
		c.status(tvm.CodeSuccess)
		c.stopping = true
		return nil
	}
	c.status(tvm.CodeFail)
	return s.seen(c, now)
}

// deliver sends grants that c's frame caused, if it was a frame (c may be nil).
// One whose client is gone goes on to the next client. It fails only if c itself
// cannot be written to.
func (s *Server) deliver(c *conn, out []handoff, now time.Time) (err error) {
	for i := 0; i < len(out); i++ {
		h := out[i]
		if c != nil && h.to == &c.peer {
			err = errors.Join(err, c.flush()) // its earlier replies come first
			c.wrote = true
		}
		if h.to.conn.grant(h.offer) == nil {
			s.options.Metrics.granted(h.waited)
			continue
		}
		s.mu.Lock()
		out = s.registry.undelivered(h.offer, h.to.id, now, out)
		s.unlock()
	}
	return err
}

// status gathers a bare status.
func (c *conn) status(code tvm.Code) {
	b := c.gather()
	start := len(b.b)
	b.b = tvm.EndFrame(tvm.AppendStatus(tvm.BeginFrame(b.b), code), start)
}

// refusal makes the registry's refusal of a message an error that closes the
// connection.
func refusal(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTooMuch):
		return reject(rejectMemory, fmt.Errorf("%s: %w", what, err))
	default:
		return reject(rejectBadMessage, fmt.Errorf("%s: %w", what, err))
	}
}
