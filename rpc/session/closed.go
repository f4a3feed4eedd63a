package session

// Closed tells whether the client has closed a call, or the session has ended: no
// message about the call is answered any more.
func (s *Session) Closed(seq uint64) bool { return s.closed(seq) }
