package session

import (
	"crypto/subtle"
	"time"
)

// DomainOptions are the bounds of a [Domain]. All but Journal have defaults.
type DomainOptions struct {
	Journal  bool          // there is one: Append is asked for
	Lease    time.Duration // how long a session lives after its last message: 5 min
	Sessions int           // how many there may be: 65,536
	Open     int           // how many calls of one session may be open: 512
	// ReplyBytes and DomainBytes are how many bytes of replies are kept for one
	// session (16 MiB) and in all (1 GiB). Over it the oldest are dropped: who asks
	// again for one of them is told that it ran.
	ReplyBytes, DomainBytes int
	// NeedBytes is how many bytes of arguments one session's calls may have that wait for
	// the results of others: 16 MiB. Over it they are refused.
	NeedBytes int
	// Runs is how often an idempotent call may be run if its workers crash: 3.
	Runs int
	// Strikes is how many workers the same method with the same arguments may kill
	// within StrikeWindow (10 min), until it is refused for so long: 3.
	Strikes      int
	StrikeWindow time.Duration
}

func (o DomainOptions) withDefaults() DomainOptions {
	return DomainOptions{
		Journal:      o.Journal,
		Lease:        or(o.Lease, 5*time.Minute),
		Sessions:     or(o.Sessions, 65536),
		Open:         or(o.Open, 512),
		ReplyBytes:   or(o.ReplyBytes, 16<<20),
		DomainBytes:  or(o.DomainBytes, 1<<30),
		NeedBytes:    or(o.NeedBytes, 16<<20),
		Runs:         or(o.Runs, 3),
		Strikes:      or(o.Strikes, 3),
		StrikeWindow: or(o.StrikeWindow, 10*time.Minute),
	}
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Domain is one dedup table: all sessions of one server, and what they have
// called. It is not safe for concurrent use. now is the time on the server's
// monotonic clock, since an origin that does not change in the domain's life.
type Domain struct {
	id       ID
	life     uint64
	opt      DomainOptions
	sessions map[ID]*Session
	order    []*Session // the same, in an order that a replay finds again
	// left are sessions that have ended while calls in their lanes, or in those of sessions before
	// them, run on. Their clients may name them yet. There are no more than there may be sessions.
	left   map[ID]*Session
	held   int // bytes of replies
	poison poison
	free   []*Entry
	Counts DomainCounts
}

// DomainCounts are what has happened since the domain was made.
type DomainCounts struct {
	Duplicates uint64 // calls that were known
	Answered   uint64 // of them: had ended, and were answered from the table
	Stale      uint64 // calls that their client had closed
	Twins      uint64 // sessions that were refused for a wrong secret
	Misused    uint64 // sequence numbers used twice, for different calls
	Expired    uint64 // sessions whose lease ran out
	Dropped    uint64 // replies that were dropped to stay within the budget
}

// NewDomain makes an empty table. id is the one that the table had in its last
// life if its journal is given to [Domain.Restore], else a new one. life is never
// the same for two starts.
func NewDomain(id ID, life uint64, opt DomainOptions) *Domain {
	opt = opt.withDefaults()
	return &Domain{
		id: id, life: life, opt: opt, sessions: map[ID]*Session{}, left: map[ID]*Session{},
		poison: poison{most: opt.Strikes, window: opt.StrikeWindow},
	}
}

// Session is what a domain knows of one client.
type Session struct {
	id, secret ID
	heard      time.Duration
	ended      bool
	acked      uint64 // the client has closed all up to this one
	fence      Fence  // and these
	known      uint64 // all up to this one have come, or are closed
	window     window[Entry]
	orphans    int // entries that run although they are closed
	lanes      map[uint64]*lane
	gapped     []*lane // whose first call waits for one that has not come
	spare      *lane   // an empty one, for the next
	held       int     // bytes of replies
	place      int     // in Domain.order
	needy      needy   // calls that wait for results of others

	before []*Session // that have ended, and whose calls in lanes run on: the lanes here wait for them
	after  []*Session // whose lanes wait for what runs on here, where all has ended
}

// proves tells whether that is the secret of who opened the session.
func (s *Session) proves(secret ID) bool {
	return subtle.ConstantTimeCompare(s.secret[:], secret[:]) == 1
}

// closed tells whether the client wants no answer for seq, and no run.
func (s *Session) closed(seq uint64) bool {
	return s.ended || seq <= s.acked || s.fence.closes(seq)
}

// Hello is the first message of a connection. The session is nil if the
// connection is good for nothing but what is sent on it.
func (d *Domain) Hello(now time.Duration, conn Conn, m *Message, fx []Effect) (*Session, []Effect) {
	if !m.Closed.valid(d.opt.Open) {
		return nil, append(fx, Effect{Do: Close, Conn: conn})
	}
	h := m.Greeting
	former, fx := d.former(h, fx)
	s := d.sessions[h.Session]
	known := s != nil
	switch {
	case known && !s.proves(h.Secret):
		d.Counts.Twins++
		return nil, append(fx, farewell(h.Session, conn))
	case !known && h.Resume:
		return nil, append(fx, farewell(h.Session, conn))
	case !known && len(d.sessions) >= d.opt.Sessions:
		return nil, append(fx,
			Effect{Do: Send, Conn: conn, Msg: Message{Kind: Full}}, Effect{Do: Close, Conn: conn})
	case !known:
		s = d.open(now, h.Session, h.Secret)
		if d.opt.Journal {
			fx = append(fx, Effect{Do: Append, kind: RecordOpen, session: s})
		}
	}
	s.heard = now
	if former != nil {
		s.succeed(former)
	}
	fx = d.supply(s, d.close(s, m, fx))
	return s, append(fx, s.tell(conn, Message{
		Kind: Welcome, Time: now,
		Greeting: &Handshake{Session: s.id, Resume: known, Domain: d.id, Life: d.life},
	}))
}

// former ends the session that a Hello names as its client's before. It may have ended, and be left.
func (d *Domain) former(h *Handshake, fx []Effect) (*Session, []Effect) {
	if s := d.sessions[h.Former]; s != nil && s.proves(h.Proof) {
		return s, d.end(s, fx)
	}
	if s := d.left[h.Former]; s != nil && s.proves(h.Proof) {
		return s, fx
	}
	return nil, fx
}

// farewell says that a session is not known, or not the client's.
func farewell(id ID, conn Conn) Effect {
	return Effect{Do: Send, Conn: conn, Msg: Message{Kind: Gone, Greeting: &Handshake{Session: id}}}
}

func (d *Domain) open(now time.Duration, id, secret ID) *Session {
	s := &Session{id: id, secret: secret, heard: now, place: len(d.order)}
	d.sessions[id] = s
	d.order = append(d.order, s)
	return s
}

func (d *Domain) remove(s *Session) {
	last := len(d.order) - 1
	d.order[s.place] = d.order[last]
	d.order[s.place].place = s.place
	d.order = d.order[:last]
	delete(d.sessions, s.id)
}

// Tick ends sessions whose lease is over. It is to be called about once a second.
func (d *Domain) Tick(now time.Duration, fx []Effect) []Effect {
	for i := len(d.order) - 1; i >= 0; i-- {
		s := d.order[i]
		if now-s.heard >= d.opt.Lease {
			d.Counts.Expired++
			fx = d.end(s, fx)
			continue
		}
		fx = d.overdue(now, s, fx)
	}
	d.poison.prune(now)
	return fx
}

// end forgets a session. What runs, runs on; its reply is thrown away.
func (d *Domain) end(s *Session, fx []Effect) []Effect {
	s.ended = true
	fx = d.sweep(s, fx)
	d.remove(s)
	s.window, s.fence = window[Entry]{}, Fence{}
	if len(s.lanes)+len(s.before) > 0 && len(d.left) < d.opt.Sessions {
		d.left[s.id] = s
	}
	if d.opt.Journal {
		fx = append(fx, Effect{Do: Append, kind: RecordClose, session: s})
	}
	return fx
}

// MostOpen is how many calls of one session may be open.
func (d *Domain) MostOpen() int { return d.opt.Open }

// Sessions returns how many there are.
func (d *Domain) Sessions() int { return len(d.sessions) }

// Left returns how many are kept although they have ended, because calls in lanes run on.
func (d *Domain) Left() int { return len(d.left) }

// Entries returns how many calls are kept, and how many bytes of replies.
func (d *Domain) Entries() (entries, bytes int) {
	for _, s := range d.order {
		entries += s.window.live + s.orphans
	}
	return entries, d.held
}
