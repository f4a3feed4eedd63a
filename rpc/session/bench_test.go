package session

import (
	"testing"
	"time"
)

// The floor: a table of calls that knows nothing but their numbers.
func BenchmarkFloorMap(b *testing.B) {
	b.ReportAllocs()
	calls := map[uint64]*Entry{}
	e := new(Entry)
	for i := uint64(1); b.Loop(); i++ {
		if calls[i] == nil {
			calls[i] = e
		}
		delete(calls, i-1)
	}
}

// shell is a server that runs calls at once, and throws the effects away.
type shell struct {
	d     *Domain
	s     *Session
	fx    []Effect
	reply []byte
}

func newShell(opt DomainOptions) *shell {
	d := NewDomain(ID{1}, 1, opt)
	s, fx := d.Hello(0, 1, &Message{Kind: Hello, Greeting: &Handshake{Session: ID{2}}}, nil)
	return &shell{d: d, s: s, fx: fx, reply: make([]byte, 64)}
}

// call is all that a call costs in the domain: it comes, is taken by a worker, is
// started, returns, and is acknowledged by a later one.
func (s *shell) call(now time.Duration, m *Message) {
	s.fx = s.d.Receive(now, s.s, 1, m, s.fx[:0])
	e := s.fx[len(s.fx)-1].Entry
	s.fx = s.d.Take(now, e, s.fx[:0])
	_, s.fx = s.d.Start(now, e, s.fx[:0])
	s.fx = s.d.Return(e, OK, s.reply, s.fx[:0])
}

func BenchmarkDedup(b *testing.B) {
	for name, opt := range map[string]DomainOptions{"memory": {}, "journal": {Journal: true}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			s := newShell(opt)
			m := Message{Kind: Call, Method: 7, Time: time.Hour}
			for i := uint64(1); b.Loop(); i++ {
				m.Seq, m.Sum, m.Ack = i, i, i-1
				s.call(time.Duration(i), &m)
			}
		})
	}
}

// 64 callers over one connection: the watermark follows by 64 calls.
func BenchmarkDedupMany(b *testing.B) {
	b.ReportAllocs()
	s := newShell(DomainOptions{})
	m := Message{Kind: Call, Method: 7, Time: time.Hour}
	for i := uint64(1); b.Loop(); i++ {
		m.Seq, m.Sum, m.Ack = i, i, max(i, 65)-65
		s.call(time.Duration(i), &m)
	}
}

// Only what is asked before a call is dispatched: was it seen?
func BenchmarkDedupLookup(b *testing.B) {
	b.ReportAllocs()
	s := newShell(DomainOptions{})
	m := Message{Kind: Call, Method: 7}
	for i := range uint64(256) {
		m.Seq = i + 1
		s.call(0, &m)
	}
	for i := uint64(0); b.Loop(); i++ {
		m.Seq = i%256 + 1
		s.fx = s.d.Receive(0, s.s, 1, &m, s.fx[:0])
	}
}

func BenchmarkDedupLane(b *testing.B) {
	b.ReportAllocs()
	s := newShell(DomainOptions{})
	m := Message{Kind: Call, Method: 7, Lane: 1}
	for i := uint64(1); b.Loop(); i++ {
		m.Seq, m.Sum, m.Ack = i, i, i-1
		s.call(time.Duration(i), &m)
	}
}

// All that a call costs in the client: it is assigned, transmitted and answered.
func BenchmarkClientCall(b *testing.B) {
	b.ReportAllocs()
	seed := uint64(1)
	c := NewClient(ClientOptions{Rand: func() uint64 { seed++; return seed }})
	p := c.Add(nil)
	out := c.Connected(1, p, 1, nil)
	welcome := Message{Kind: Welcome, Greeting: &Handshake{Session: p.session}}
	out = c.Receive(1, p, 1, &welcome, out[:0])
	reply := Message{Kind: Reply, Execution: Executed}
	for i := uint64(1); b.Loop(); i++ {
		call := Invocation{Method: 7, Sum: i}
		use(&call)
		out = c.Assign(time.Duration(i), &call, p, out[:0])
		reply.Seq = i
		out = c.Receive(time.Duration(i), p, 1, &reply, out[:0])
	}
}

//go:noinline
func use(*Invocation) {}
