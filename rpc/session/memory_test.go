package session

import "testing"

// lent counts how often memory is in use.
type lent int

func (l *lent) Retain()  { *l++ }
func (l *lent) Release() { *l-- }

// TestAReplysMemoryIsGivenBackWhenNobodyNeedsIt plays what can become of a reply. What the
// network has of it is released by the shell, and counted here.
func TestAReplysMemoryIsGivenBackWhenNobodyNeedsIt(t *testing.T) {
	for name, c := range map[string]struct {
		opt  DomainOptions
		play func(s *testServer, i *Invocation, end func())
		kept lent // by the table, in the end
	}{
		"answered, but not acknowledged": {
			play: func(_ *testServer, _ *Invocation, end func()) { end() }, kept: 1,
		},
		"acknowledged": {
			play: func(s *testServer, _ *Invocation, end func()) {
				end()
				s.deliver()
				s.r.tick(s.r.client.opt.AckDelay)
				s.deliver()
			},
		},
		"sent twice, then acknowledged": {
			play: func(s *testServer, _ *Invocation, end func()) {
				end()
				s.disconnect(1)
				s.connect(2)
				s.r.tick(s.r.client.opt.AckDelay)
				s.deliver()
			},
		},
		"over the budget": {
			opt:  DomainOptions{DomainBytes: 1},
			play: func(_ *testServer, _ *Invocation, end func()) { end() },
		},
		"given up while it runs": {
			play: func(s *testServer, i *Invocation, end func()) {
				s.r.do(s.r.client.Cancel(s.r.now, i, Canceled, nil))
				s.r.do(s.r.client.GiveUp(s.r.now, i, nil))
				s.call(&Invocation{}) // says so
				s.deliver()
				end()
			},
		},
		"of a session that ends": {
			play: func(s *testServer, _ *Invocation, end func()) {
				end()
				s.r.do(s.r.client.Bye(s.r.now, nil))
				s.deliver()
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, s := one(t, c.opt)
			i := s.call(&Invocation{})
			s.deliver()
			e := s.start()
			memory := lent(1)
			c.play(s, i, func() {
				e.Memory = &memory
				s.finish(e, "reply")
			})
			for _, p := range append(s.sent, s.down...) {
				if p.m.Memory != nil {
					p.m.Memory.Release()
				}
			}
			if memory != c.kept {
				t.Errorf("memory has %d users, want %d", memory, c.kept)
			}
		})
	}
}

// shared is memory that has a part for messages.
type shared struct {
	lent

	sends lent
}

func (s *shared) Lend() Memory {
	s.sends++
	return &s.sends
}

// TestAMessageHasItsOwnPartOfAReplysMemory, where that knows what is on its way, also if it is asked for again.
func TestAMessageHasItsOwnPartOfAReplysMemory(t *testing.T) {
	_, s := one(t, DomainOptions{})
	s.call(&Invocation{})
	s.deliver()
	e := s.start()
	memory := &shared{lent: 1}
	e.Memory = memory
	s.finish(e, "reply")
	s.disconnect(1)
	s.connect(2)
	s.r.tick(s.r.client.opt.AckDelay)
	s.deliver()
	for _, p := range append(s.sent, s.down...) {
		if p.m.Memory != nil && p.m.Memory != Memory(&memory.sends) {
			t.Errorf("a message has %T", p.m.Memory)
		}
	}
	if memory.sends < 1 || memory.lent > 1 {
		t.Errorf("%d messages were sent, the table has it %d times", memory.sends, memory.lent)
	}
}
