package server

import "time"

// Now is the time on the core's clock, on which the deadlines of calls are.
func (c *Core) Now() time.Duration { return c.now() }

// Closed tells whether the line's session has ended, or its client has closed that call:
// no message about the call is answered any more. It is for doors whose client waits for
// an answer to each of its messages.
func (l *Link) Closed(seq uint64) bool {
	l.core.mu.Lock()
	defer l.core.mu.Unlock()
	return l.session == nil || l.session.Closed(seq)
}
