package session

import (
	"fmt"
	"testing"
	"time"
)

// tableStates are all states that a call can have at a server. Each brings a new call there, and returns what is
// running, if it is.
var tableStates = []struct {
	name  string
	reach func(s *testServer, call packet) *Entry
}{
	{"unknown", func(*testServer, packet) *Entry { return nil }},
	{"waiting", func(s *testServer, call packet) *Entry { s.receive(call); return nil }},
	{"running", func(s *testServer, call packet) *Entry { s.receive(call); return s.start() }},
	{"ended", func(s *testServer, call packet) *Entry {
		s.receive(call)
		s.finish(s.start(), "done")
		return nil
	}},
	{"cancelled before it came", func(s *testServer, call packet) *Entry {
		s.receive(packet{call.conn, Message{Kind: Cancel, Seq: call.m.Seq}})
		return nil
	}},
	{"lost", func(s *testServer, call packet) *Entry {
		s.receive(call)
		s.start()
		s.boot()
		s.r.do(s.r.client.Connected(s.r.now, s.peer, call.conn, nil))
		hello := s.up[0]
		s.up = nil
		s.receive(hello)
		return nil
	}},
	{"closed", func(s *testServer, call packet) *Entry {
		s.receive(call)
		s.finish(s.start(), "done")
		s.receive(packet{call.conn, Message{Kind: Ack, Ack: call.m.Seq}})
		return nil
	}},
}

// TestC4_WhateverComesInWhateverState is the table of what a server does about a call: by its state and by what comes.
func TestC4_WhateverComesInWhateverState(t *testing.T) {
	const nothing = ""
	events := map[string]struct {
		say  func(call packet) Message
		want map[string]string // by state: the answer; then whether it is to run, is interrupted, or is stale
	}{
		"the call, again": {func(call packet) Message { return call.m }, map[string]string{
			"unknown":                  "to run",
			"waiting":                  "InProgress, to run",
			"running":                  "InProgress",
			"ended":                    "Reply OK Executed",
			"cancelled before it came": "Reply Canceled NotExecuted",
			"lost":                     "Reply Lost Indeterminate",
			"closed":                   "stale",
		}},
		"a cancellation": {func(call packet) Message { return Message{Kind: Cancel, Seq: call.m.Seq} }, map[string]string{
			"unknown":                  "Reply Canceled NotExecuted",
			"waiting":                  "Reply Canceled NotExecuted",
			"running":                  "interrupted",
			"ended":                    "Reply OK Executed",
			"cancelled before it came": "Reply Canceled NotExecuted",
			"lost":                     "Reply Lost Indeterminate",
			"closed":                   "stale",
		}},
		"an ack": {func(call packet) Message { return Message{Kind: Ack, Ack: call.m.Seq} }, map[string]string{
			"unknown": nothing, "waiting": nothing, "running": "interrupted", "ended": nothing, "cancelled before it came": nothing, "lost": nothing, "closed": nothing,
		}},
		"the end of its session": {func(packet) Message { return Message{Kind: Bye} }, map[string]string{
			"unknown": nothing, "waiting": nothing, "running": "interrupted", "ended": nothing, "cancelled before it came": nothing, "lost": nothing, "closed": nothing,
		}},
	}
	for _, state := range tableStates {
		for name, event := range events {
			t.Run(state.name+", "+name, func(t *testing.T) {
				_, s := one(t, DomainOptions{Journal: true})
				s.call(&Invocation{})
				call := s.up[0]
				s.up = nil
				running := state.reach(s, call)
				s.down = nil
				s.receive(packet{call.conn, event.say(call)})
				if got := s.did(); got != event.want[state.name] {
					t.Errorf("it does %q, want %q", got, event.want[state.name])
				}
				if running != nil { // its end is nobody's, or who cancelled hears of it
					s.down = nil
					s.finish(running, "late")
					heard := name == "the call, again" || name == "a cancellation"
					if got := s.did(); heard != (got == "Reply OK Executed, interrupted" || got == "Reply OK Executed") {
						t.Errorf("at its end it does %q", got)
					}
				}
				s.down, s.interrupted = nil, nil
				if s.receive(call); len(s.ready) > 0 && event.want[state.name] != "to run" && event.want[state.name] != "InProgress, to run" {
					t.Error("a copy of it is to run")
				}
			})
		}
	}
}

// did is what a server has done since its answers were taken away: the answers to its client, whether something is
// ready that may start, what was interrupted, and whether something was stale.
func (s *testServer) did() (text string) {
	add := func(what string) {
		if text != "" {
			text += ", "
		}
		text += what
	}
	for _, p := range s.down {
		switch p.m.Kind {
		case Reply:
			add(fmt.Sprintf("Reply %v %v", p.m.Code, p.m.Execution))
		case InProgress:
			add("InProgress")
		case Hello, Call, Cancel, Ack, Ping, Bye, Welcome, Started, Gone, Full, Pong, Confirm:
		}
	}
	var left []*Entry
	for _, e := range s.ready {
		if fx := s.domain.Take(s.r.now, e, nil); len(fx) > 0 && fx[len(fx)-1].Do == Execute {
			left = append(left, e)
			add("to run")
		}
	}
	s.ready = left
	if len(s.interrupted) > 0 {
		add("interrupted")
	}
	if s.domain.Counts.Stale > 0 {
		add("stale")
	}
	return text
}

// TestC4_ALeaseEndsInWhateverState: what runs runs on, and its reply is nobody's; nothing else does.
func TestC4_ALeaseEndsInWhateverState(t *testing.T) {
	for _, state := range tableStates {
		t.Run(state.name, func(t *testing.T) {
			_, s := one(t, DomainOptions{Journal: true})
			s.call(&Invocation{})
			call := s.up[0]
			s.up = nil
			running := state.reach(s, call)
			s.down = nil
			s.do(s.domain.Tick(s.r.now+time.Hour, nil))
			if n := s.domain.Sessions(); n != 0 {
				t.Errorf("%d sessions", n)
			}
			for len(s.ready) > 0 {
				if s.start() != nil {
					t.Error("it starts")
				}
			}
			if running != nil {
				s.finish(running, "late")
			}
			for _, p := range s.down {
				if p.m.Kind == Reply {
					t.Errorf("somebody is told %v", p.m)
				}
			}
			s.wantEntries(0)
		})
	}
}

// TestC3_ALateReplyTouchesNobody: it comes after its caller was told another end, is counted, and others go on.
func TestC3_ALateReplyTouchesNobody(t *testing.T) {
	r, s := one(t, DomainOptions{})
	given, other := s.call(&Invocation{}), s.call(&Invocation{})
	s.deliver()
	first, second := s.start(), s.start()
	r.do(r.client.Cancel(r.now, given, Canceled, nil))
	r.do(r.client.GiveUp(r.now, given, nil))
	given.want(t, Canceled, Indeterminate)
	s.up = nil // the server has not heard of that
	s.finish(first, "late")
	s.deliverDown()
	if given.want(t, Canceled, Indeterminate); r.client.Counts.Late != 1 || len(given.Outcome.Reply) > 0 {
		t.Errorf("%d late replies, %q", r.client.Counts.Late, given.Outcome.Reply)
	}
	s.receive(packet{1, Message{Kind: Reply, Seq: 99}}) // nonsense, of a client
	r.do(r.client.Receive(r.now, s.peer, 1, &Message{Kind: Reply, Code: OK, Execution: Executed, Seq: 4711}, nil))
	if other.state == finished {
		t.Error("a reply to nobody ends another call")
	}
	s.finish(second, "done")
	s.deliverDown()
	other.want(t, OK, Executed)
}
