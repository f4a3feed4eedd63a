package sim

import (
	"slices"
	"time"

	"rpcpool.dev/rpc/session"
)

// listing is a server as the list of the service's servers has it. With a new epoch it is another
// one to programs, and may be the same process, with the same table.
type listing struct {
	server *server
	epoch  int
}

// list is one version of that list. Programs hear of it each at its time: of each version, of
// some, or of the last only.
type list struct {
	servers []listing
	fenced  []*server // that are gone for good
}

func (r *run) latest() *list { return &r.lists[len(r.lists)-1] }

// publish makes another version of the list.
func (r *run) publish(next list) {
	r.lists = append(r.lists, next)
	version := len(r.lists) - 1
	most := 400 * time.Millisecond
	if r.w.one(2) {
		most /= 20
	}
	for _, p := range r.programs {
		p.when(r.w.between(0, most), func() { p.update(version) })
	}
}

// unlist takes a server off the list, list puts it there.
func (r *run) unlist(s *server) {
	next := *r.latest()
	next.servers = slices.DeleteFunc(slices.Clone(next.servers), func(l listing) bool { return l.server == s && l.epoch <= s.epoch })
	r.publish(next)
}

func (r *run) list(s *server, epoch int) {
	r.w.logf("server %d is listed, epoch %d", s.name, epoch)
	next := *r.latest()
	next.servers = append(slices.Clip(next.servers), listing{s, epoch})
	r.publish(next)
}

// leave takes a server off the list for a moment or for long, so many times in a row. It lives on
// meanwhile, and serves who knows it, or it is started again. It comes back as what it was, or
// with a new epoch, which may be on the list before the old one has left it; or not at all.
func (r *run) leave(s *server, times int) {
	w := r.w
	if r.gone[s] || w.calm {
		return
	}
	w.logf("server %d leaves the list", s.name)
	epoch, early, stays := s.epoch, w.one(5), w.one(10)
	if early || w.one(3) {
		epoch++
	}
	if early {
		r.list(s, epoch)
	}
	s.delay()
	switch w.rng.IntN(4) {
	case 0:
		w.after(w.between(0, 200*time.Millisecond), s.crash)
	case 1:
		s.drain()
	}
	most := 30 * time.Millisecond
	if w.one(2) {
		most = 500 * time.Millisecond
	}
	away := func() {
		if r.gone[s] || stays && !early {
			return
		}
		s.epoch = epoch
		if !early {
			r.list(s, epoch)
		}
		if times > 1 {
			w.after(w.between(0, most), func() { r.leave(s, times-1) })
		}
	}
	if early {
		w.after(w.between(0, most), func() {
			if !r.gone[s] {
				r.unlist(s)
				away()
			}
		})
		return
	}
	r.unlist(s)
	w.after(w.between(0, most), away)
}

// delay lets what is under way to and from a server come later, for as long as it takes to come
// back to the list, and clients lose some of these connections.
func (s *server) delay() {
	w := s.w
	for n := session.Conn(1); n <= s.conns; n++ {
		if l := s.links[n]; l != nil && w.one(2) {
			l.slow = max(l.slow, w.between(0, lease))
			if w.one(2) {
				l.closed(w.between(0, lease/2))
				w.after(w.between(lease/2, 2*lease), func() { l.accepted = false })
			}
		}
	}
}

// seat is a server as a program sees it, from when it is on the list until nothing of it is left.
type seat struct {
	listing
	n       int // of the program's seats: later ones have higher numbers
	life    uint64
	before  *seat // that the server had before
	peer    *session.Peer
	link    *link      // the newest; nil: it is lost, or there was none yet
	greets  session.ID // the session that its client has asked for last
	session session.ID // that it was welcomed in last
	with    *server    // by this one
	strayed bool       // its name has led to another server
	retired bool       // it has left the list
	dead    bool
}

// of is the seat of a peer.
func of(peer *session.Peer) *seat {
	at, _ := peer.Tag.(*seat)
	return at
}

// any is one of the servers on the list, nil if there is none.
func (p *program) any() *seat {
	if at := p.eager; at != nil {
		if p.eager = nil; !at.retired && !at.dead {
			return at
		}
	}
	if len(p.seats) == 0 {
		return nil
	}
	return p.seats[p.w.rng.IntN(len(p.seats))]
}

// update takes notice of a version of the list: first of who is dead, then of who is there.
func (p *program) update(version int) {
	if version <= p.version || p.ended {
		return
	}
	p.version = version
	p.w.logf("program %d: list %d", p.name, version)
	now := &p.r.lists[version]
	for _, at := range slices.Concat(p.seats, p.retired) {
		if slices.Contains(now.fenced, at.server) {
			at.dead = true
			p.perform(p.client.Dead(p.clock.now(), at.peer, !at.strayed, nil))
		}
	}
	was := p.seats
	p.seats = nil
	for _, l := range now.servers {
		if i := slices.IndexFunc(was, func(at *seat) bool { return at.listing == l }); i >= 0 {
			p.seats = append(p.seats, was[i])
		} else {
			p.sit(l)
		}
	}
	for _, at := range was {
		if !at.dead && !slices.Contains(p.seats, at) {
			p.retire(at)
		}
	}
}

// sit makes a server known that is on the list.
func (p *program) sit(l listing) {
	p.sat++
	at := &seat{listing: l, n: p.sat, life: l.server.life, before: p.had[l.server]}
	at.peer = p.client.Add(at)
	p.seats = append(p.seats, at)
	p.had[l.server] = at
	if at.before != nil {
		p.r.cover.back(at)
		if at.before.link != nil || at.before.dead {
			p.callAt(at)
		}
	}
}

// callAt makes a call at a server at once, while what was said before is under way.
func (p *program) callAt(at *seat) {
	p.left++
	p.eager = at
	p.when(p.w.between(0, 5*time.Millisecond), p.callOn(p.client))
}

// gaveUp lets a call follow one that was given up at a server that has left the list, if that has
// come back.
func (p *program) gaveUp(c *call) {
	if at := c.at; at != nil && at.retired && !at.dead && p.had[at.server] != at {
		p.r.cover.events[givenUpBeside]++
		p.callAt(p.had[at.server])
	}
}

// retire lets a server that has left the list have no new calls. What is there goes on.
func (p *program) retire(at *seat) {
	at.retired = true
	p.retired = append(p.retired, at)
	p.perform(p.client.Retire(at.peer, nil))
	if at.link == nil {
		p.bury(at)
	}
}

// leads is the server that a seat's name leads to.
func (at *seat) leads() *server {
	if at.server.astray != nil {
		at.strayed = true
		return at.server.astray
	}
	return at.server
}

// beside tells whether there is a session with a server, besides a seat's, which goes on.
func (p *program) beside(at *seat, s *server) bool {
	return slices.ContainsFunc(slices.Concat(p.seats, p.retired), func(other *seat) bool {
		return other != at && other.with == s && !other.dead && !p.named[other.session]
	})
}

// rest buries servers that have left the list, and where nothing is open any more.
func (p *program) rest() {
	for _, at := range slices.Clone(p.retired) {
		if !at.open() {
			p.bury(at)
		}
	}
}

func (at *seat) open() bool {
	open := false
	see := func(*session.Invocation) { open = true }
	at.peer.Open(see)
	at.peer.Queued(see)
	return open
}

// bury ends what a program has with a server. What is under way may arrive.
func (p *program) bury(at *seat) {
	p.retired = slices.DeleteFunc(p.retired, func(other *seat) bool { return other == at })
	if at.dead {
		return
	}
	at.dead = true
	p.w.logf("program %d: server %d, epoch %d, is no more", p.name, at.server.name, at.epoch)
	if l := at.link; l != nil {
		l.closed(p.w.between(0, 50*time.Millisecond))
		p.w.after(p.w.between(0, 600*time.Millisecond), func() { l.accepted = false })
	}
	p.perform(p.client.Dead(p.clock.now(), at.peer, false, nil))
}

// late tells whether what comes by a connection comes after what the client has said in a later
// session.
func (s *server) late(l *link, m *session.Message) bool {
	n := of(l.peer).n
	if m.Kind == session.Hello {
		s.seats[l.incarnation] = max(s.seats[l.incarnation], n)
	}
	return n < s.seats[l.incarnation]
}
