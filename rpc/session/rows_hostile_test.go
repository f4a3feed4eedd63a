package session

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// seqs are sequence numbers that a hostile peer chooses: near each other, and far out.
func seqs() *rapid.Generator[uint64] {
	return rapid.OneOf(rapid.Uint64Range(0, 20), rapid.Uint64Range(math.MaxUint64-3, math.MaxUint64), rapid.Uint64())
}

// anything is a message that a decoder may return, whatever it says.
func anything() *rapid.Generator[Message] {
	return rapid.Custom(func(t *rapid.T) Message {
		m := Message{
			Kind: Kind(rapid.IntRange(0, 30).Draw(t, "kind")), Seq: seqs().Draw(t, "seq"),
			Code: Code(rapid.IntRange(0, 20).Draw(t, "code")), Execution: Execution(rapid.IntRange(0, 4).Draw(t, "execution")),
			Ack: seqs().Draw(t, "ack"), Fence: seqs().Draw(t, "fence"), Lane: rapid.Uint64Range(0, 3).Draw(t, "lane"),
			Sum: rapid.Uint64Range(0, 1).Draw(t, "sum"), Idempotent: rapid.Bool().Draw(t, "idempotent"),
			Time: time.Duration(rapid.Int64().Draw(t, "time")), Body: []byte("body"),
		}
		if rapid.IntRange(0, 3).Draw(t, "closes") == 0 {
			m.Ack = min(m.Ack, 20)
			m.Closed = &Fence{
				Version: seqs().Draw(t, "version"), Last: seqs().Draw(t, "last"),
				Open: rapid.SliceOfN(seqs(), 0, 6).Draw(t, "open"),
			}
		}
		switch m.Kind {
		case Hello, Welcome, Gone:
			m.Greeting = &Handshake{
				Session: ID{byte(rapid.IntRange(0, 3).Draw(t, "session"))}, Former: ID{byte(rapid.IntRange(0, 3).Draw(t, "former"))},
				Resume: rapid.Bool().Draw(t, "resume"), Life: uint64(rapid.IntRange(0, 1).Draw(t, "life")),
			}
		}
		return m
	})
}

// Whatever a client says, the server lives, keeps no more than it may, and forgets it
// all with the lease.
func TestS2_27_NothingThatAClientSaysHurtsTheServer(test *testing.T) {
	rapid.Check(test, func(t *rapid.T) {
		r := &rig{t: test, now: time.Second}
		s := &testServer{r: r, domain: NewDomain(ID{1}, 1, DomainOptions{Journal: true, Open: 4, Sessions: 2}), bound: map[Conn]*Session{}}
		var running []*Entry
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			r.now += time.Duration(rapid.IntRange(0, int(10*time.Second)).Draw(t, "passes"))
			conn := Conn(rapid.IntRange(1, 3).Draw(t, "conn"))
			if m := anything().Draw(t, "message"); m.Kind == Hello || s.bound[conn] != nil {
				s.receive(packet{conn, m})
			}
			if len(s.ready) > 0 && rapid.Bool().Draw(t, "start") {
				if e := s.start(); e != nil {
					running = append(running, e)
				}
			}
			if len(running) > 0 && rapid.Bool().Draw(t, "end") {
				s.finish(running[0], "reply")
				running = running[1:]
			}
			if n, _ := s.domain.Entries(); n > 2*(4+2*heldMost)+len(running) || s.domain.Sessions() > 2 {
				t.Fatalf("%d calls of %d sessions are kept", n, s.domain.Sessions())
			}
		}
		s.do(s.domain.Tick(r.now+time.Hour, nil))
		for _, e := range running {
			s.finish(e, "reply")
		}
		for len(s.ready) > 0 {
			if s.start() != nil {
				t.Fatal("a call of a session that has ended starts")
			}
		}
		if n, bytes := s.domain.Entries(); n != 0 || bytes != 0 || s.domain.Sessions() != 0 {
			t.Fatalf("%d calls and %d bytes of %d sessions are kept", n, bytes, s.domain.Sessions())
		}
	})
}

// Whatever a server says, the client lives, and every call can be ended.
func TestS2_27_NothingThatAServerSaysHurtsTheClient(test *testing.T) {
	rapid.Check(test, func(t *rapid.T) {
		var n uint64
		r := &rig{t: test, now: time.Second, client: NewClient(ClientOptions{Rand: func() uint64 { n++; return n }, Open: 3})}
		s := &testServer{r: r}
		s.peer = r.client.Add(s)
		var calls []*Invocation
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			conn := Conn(rapid.IntRange(1, 2).Draw(t, "conn"))
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				r.do(r.client.Connected(r.now, s.peer, conn, nil))
			case 1:
				r.do(r.client.Disconnected(r.now, s.peer, conn, nil))
			case 2, 3:
				i := &Invocation{Idempotent: rapid.Bool().Draw(t, "idempotent"), Deadline: time.Duration(rapid.Int64Min(0).Draw(t, "deadline"))}
				calls = append(calls, i)
				s.call(i)
			case 4:
				r.tick(time.Duration(rapid.IntRange(0, int(time.Minute)).Draw(t, "passes")))
			default:
				m := anything().Draw(t, "message")
				if m.Greeting != nil && rapid.Bool().Draw(t, "right") {
					m.Greeting.Session, m.Greeting.Domain = s.peer.session, s.peer.domain
				}
				r.do(r.client.Receive(r.now, s.peer, conn, &m, nil))
			}
			s.up = nil
		}
		for _, i := range calls {
			r.do(r.client.Cancel(r.now, i, Canceled, nil))
			r.do(r.client.GiveUp(r.now, i, nil))
		}
		if len(r.finished) != len(calls) {
			t.Fatalf("%d of %d calls have ended", len(r.finished), len(calls))
		}
	})
}
