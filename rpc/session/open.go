package session

// Open calls visit with every call that has not ended, and where it is: waiting (for its
// turn in a lane, or for the results of others), queued, starting (its start is being
// journalled) or running. Of one that runs although nobody waits for it any more nothing
// is said.
func (d *Domain) Open(visit func(e *Entry, state string)) {
	for _, s := range d.order {
		s.window.all(func(_ uint64, e *Entry) {
			if e.state < done {
				visit(e, [...]string{waiting: "waiting", queued: "queued", taken: "starting", running: "running"}[e.state])
			}
		})
	}
}

// Open tells whether the client waits for a call that has not ended.
func (s *Session) Open() bool {
	open := false
	s.window.all(func(_ uint64, e *Entry) { open = open || e.state < done })
	return open
}

// Ended returns how an entry has ended. ok is false if it has not, or its client has
// closed it.
func (e *Entry) Ended() (code Code, ran Execution, ok bool) {
	return e.outcome.Code, e.outcome.Execution, e.state == done
}
