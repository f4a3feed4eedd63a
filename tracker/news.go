package tracker

// unlock ends a change of the registry, and wakes who tells of it.
func (s *Server) unlock() {
	news := len(s.registry.touched) > 0
	s.mu.Unlock()
	if news {
		s.wake()
	}
}

func (s *Server) wake() {
	select {
	case s.news <- struct{}{}:
	default: // it is awake
	}
}

// tell calls [Options.Changed] until the server stops.
func (s *Server) tell() {
	for {
		select {
		case <-s.stopped:
			return
		case <-s.news:
		}
		s.mu.Lock()
		keys := s.registry.news()
		s.mu.Unlock()
		for _, key := range keys {
			s.options.Changed(key)
		}
	}
}

// settle opens the registry when its time has come.
func (s *Server) settle() {
	if !s.wait(s.options.Settle, s.stopped) {
		return
	}
	now := s.options.Clock.Now()
	s.mu.Lock()
	out := s.registry.open(now, nil)
	s.unlock()
	_ = s.deliver(nil, out, now)
	s.options.Logger.Info("tracker has settled", "after", s.options.Settle)
}
