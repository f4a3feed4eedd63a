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
