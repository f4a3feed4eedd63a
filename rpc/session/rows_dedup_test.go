package session

import (
	"slices"
	"testing"
	"time"
)

func TestS3_06_RepliesInAnyOrderFindTheirCalls(t *testing.T) {
	_, s := one(t, DomainOptions{})
	var calls []*Invocation
	for range 100 {
		calls = append(calls, s.call(&Invocation{}))
	}
	s.deliver()
	var entries []*Entry
	for range calls {
		entries = append(entries, s.start())
	}
	slices.Reverse(entries)
	for _, e := range entries {
		s.finish(e, e.XID().String())
	}
	s.deliver()
	for _, i := range calls {
		i.want(t, OK, Executed)
		if got := string(i.Outcome.Reply); got != i.XID().String() {
			t.Errorf("call %s got the reply of %s", i.XID(), got)
		}
	}
}

func TestS3_13_LostReplyIsSentAgain(t *testing.T) {
	_, s := one(t, DomainOptions{})
	i := s.call(&Invocation{})
	s.deliver()
	s.finish(s.start(), "42")
	s.down = nil // the reply
	s.disconnect(1)
	s.connect(2)
	if i.want(t, OK, Executed); string(i.Outcome.Reply) != "42" || len(s.ready) > 0 {
		t.Errorf("reply %q, %d runs to come", i.Outcome.Reply, len(s.ready))
	}
}

func TestS3_15_DuplicatesRunOnce(t *testing.T) {
	_, s := one(t, DomainOptions{})
	s.call(&Invocation{})
	copyOf := s.up[0]
	for range 3 {
		s.receive(copyOf)
	}
	e := s.start()
	s.receive(copyOf)
	s.finish(e, "42")
	s.receive(copyOf)
	if len(s.ready) > 0 {
		t.Error("it is to run again")
	}
	replies := 0
	for _, p := range s.down {
		if p.m.Kind == Reply && string(p.m.Body) == "42" {
			replies++
		}
	}
	if replies != 2 {
		t.Errorf("%d replies, want one to the call and one to the copy after it", replies)
	}
}

func TestS3_16_ResendsHaveTheSameIdentity(t *testing.T) {
	r, s := one(t, DomainOptions{})
	i := s.call(&Invocation{Args: []byte("x"), Sum: 9})
	before, first := i.XID(), s.up[0].m
	s.up = nil
	s.disconnect(1)
	r.do(r.client.Connected(r.now, s.peer, 2, nil))
	s.deliverUp()
	s.deliverDown()
	again := s.up[0].m
	if i.XID() != before || again.Seq != first.Seq || again.Sum != first.Sum || string(again.Body) != "x" {
		t.Errorf("sent %+v, then %+v", first, again)
	}
}

func TestS3_18_ATwinIsRefusedAndPicksAnotherIdentity(t *testing.T) {
	r, s := one(t, DomainOptions{})
	other := NewClient(ClientOptions{Rand: r.rng.Uint64})
	twin := &testServer{r: &rig{t: t, now: r.now, client: other}, domain: s.domain, bound: map[Conn]*Session{}}
	twin.peer = other.Add(twin)
	twin.r.do(other.Connected(r.now, twin.peer, 9, nil))
	twin.peer.session, twin.up[0].m.Greeting.Session = s.peer.session, s.peer.session // by chance
	twin.deliver()
	if s.domain.Counts.Twins != 1 {
		t.Errorf("%d twins were refused", s.domain.Counts.Twins)
	}
	if !twin.peer.up || twin.peer.session == s.peer.session || s.domain.Sessions() != 2 {
		t.Errorf("the twin is connected: %t, as %s; %d sessions", twin.peer.up, twin.peer.session, s.domain.Sessions())
	}
}

func TestS3_19_MemoryIsBounded(t *testing.T) {
	r, s := one(t, DomainOptions{})
	slow := s.call(&Invocation{})
	s.deliver()
	running := s.start()
	for range 10_000 { // while the slow one pins the watermark
		s.call(&Invocation{})
		s.serve()
		if n, _ := s.domain.Entries(); n > heldMost+2 {
			t.Fatalf("%d calls are kept", n)
		}
	}
	s.finish(running, "")
	s.deliver()
	slow.want(t, OK, Executed)
	r.tick(time.Second)
	s.deliver()
	s.wantEntries(0)
	if n := len(s.domain.free); n > 3*heldMost {
		t.Errorf("%d entries were made", n)
	}
}

func TestS3_20_AnAckForgetsAndWhatComesLateIsStale(t *testing.T) {
	_, s := one(t, DomainOptions{})
	s.call(&Invocation{})
	copyOf := s.up[0]
	s.serve()
	s.wantEntries(1)
	s.call(&Invocation{}) // carries the ack
	s.deliver()
	s.wantEntries(1)
	s.receive(copyOf)
	if s.domain.Counts.Stale != 1 || len(s.ready) != 1 {
		t.Errorf("%d stale, %d ready", s.domain.Counts.Stale, len(s.ready))
	}
}

func TestS3_20_AnAckComesByItselfWhenItIsQuiet(t *testing.T) {
	r, s := one(t, DomainOptions{})
	s.call(&Invocation{})
	s.serve()
	r.tick(99 * time.Millisecond)
	if len(s.up) > 0 {
		t.Error("too early")
	}
	r.tick(time.Millisecond)
	s.deliver()
	s.wantEntries(0)
	if r.tick(time.Second); len(s.up) > 0 {
		t.Error("it comes again, although nothing is new")
	}
}

// What has ended above a call that is still open is forgotten, too.
func TestS3_20_AnAckSpeaksOfWhatIsAboveAnOpenCall(t *testing.T) {
	r, s := one(t, DomainOptions{})
	s.call(&Invocation{})
	s.deliver()
	s.start()
	s.call(&Invocation{})
	s.serve()
	s.wantEntries(2)
	r.tick(100 * time.Millisecond)
	s.deliver()
	s.wantEntries(1)
}

func TestS3_21_ASerialSessionHasOneCallOpen(t *testing.T) {
	r := newRig(t, DomainOptions{}, 1)
	s := r.servers[0]
	s.peer.most = 1
	s.connect(1)
	first, second := s.call(&Invocation{}), s.call(&Invocation{})
	if len(s.up) != 1 {
		t.Fatalf("%d calls were sent", len(s.up))
	}
	s.deliver()
	s.finish(s.start(), "")
	s.deliver()
	first.want(t, OK, Executed)
	s.wantEntries(1) // the second: its arrival has discarded the first
	s.serve()
	second.want(t, OK, Executed)
}

func TestS3_22_ASessionEndsWithItsLease(t *testing.T) {
	r, s := one(t, DomainOptions{})
	i := s.call(&Invocation{})
	copyOf := s.up[0]
	s.deliver()
	s.finish(s.start(), "")
	s.down = nil
	session := s.bound[1]
	r.now += 5 * time.Minute // the client is stopped
	s.do(s.domain.Tick(r.now, nil))
	if s.domain.Sessions() != 0 {
		t.Fatal("the session is still there")
	}
	s.do(s.domain.Receive(r.now, session, 1, &copyOf.m, nil))
	s.deliver()
	i.want(t, Expired, Indeterminate)
	if len(s.ready) > 0 || s.domain.Sessions() != 1 {
		t.Errorf("%d to run; %d sessions, want a new one", len(s.ready), s.domain.Sessions())
	}
	i = s.call(&Invocation{})
	s.serve()
	i.want(t, OK, Executed)
}

func TestS3_22_AClientStopsBeforeItsLeaseEnds(t *testing.T) {
	r, s := one(t, DomainOptions{})
	i, repeatable := s.call(&Invocation{}), s.call(&Invocation{Idempotent: true})
	s.up = nil
	s.disconnect(1)
	before := s.peer.session
	r.now += 4 * time.Minute // four fifths: the server still knows it, but not for long
	s.connect(2)
	i.want(t, Expired, Indeterminate)
	if s.peer.session == before {
		t.Error("the session goes on")
	}
	s.serve()
	repeatable.want(t, OK, Executed)
}

// To come back is to be heard of.
func TestS3_22_AHelloRenewsTheLease(t *testing.T) {
	r, s := one(t, DomainOptions{})
	i := s.call(&Invocation{})
	s.deliver()
	e := s.start()
	r.now += 3 * time.Minute
	s.disconnect(1)
	r.do(r.client.Connected(r.now, s.peer, 2, nil))
	s.deliverUp()
	s.do(s.domain.Tick(r.now+4*time.Minute, nil))
	s.deliver()
	s.finish(e, "")
	s.deliver()
	i.want(t, OK, Executed)
}

// A lease runs from when its renewal was sent, however late the answer comes.
func TestS3_22_ALateAnswerRenewsFromItsQuestion(t *testing.T) {
	r, s := one(t, DomainOptions{})
	before := s.peer.session
	r.tick(75 * time.Second) // a quarter
	s.deliverUp()
	r.now += 2 * time.Minute
	s.deliverDown()
	s.disconnect(1)
	r.now += 2*time.Minute - time.Second
	r.do(r.client.Connected(r.now, s.peer, 2, nil))
	if s.peer.session != before {
		t.Error("it is given up too early")
	}
	s.up = nil
	r.now += time.Second
	if s.connect(3); s.peer.session == before {
		t.Error("it is resumed, although the server has heard nothing for four minutes")
	}
}

func TestS3_22_ALongCallKeepsItsLease(t *testing.T) {
	r, s := one(t, DomainOptions{})
	i := s.call(&Invocation{})
	s.deliver()
	e := s.start()
	for range 3600 {
		r.tick(time.Second)
		s.deliver()
		s.do(s.domain.Tick(r.now, nil))
	}
	s.finish(e, "")
	s.deliver()
	i.want(t, OK, Executed)
}

func TestS3_23_ADuplicateOfARunningCallWaits(t *testing.T) {
	_, s := one(t, DomainOptions{})
	i := s.call(&Invocation{})
	s.deliver()
	e := s.start()
	s.disconnect(1)
	s.connect(2) // sends it again
	if len(s.ready) > 0 {
		t.Fatal("it is to run again")
	}
	s.finish(e, "42")
	if got := s.down[0]; got.conn != 2 || got.m.Kind != Reply {
		t.Errorf("%s to connection %d", got.m.Kind, got.conn)
	}
	s.deliver()
	i.want(t, OK, Executed)
}

// A copy that was delayed in a connection that is gone must not draw the reply there.
func TestS3_23_ALateDuplicateDoesNotTurnTheReplyAway(t *testing.T) {
	_, s := one(t, DomainOptions{})
	s.call(&Invocation{})
	late := s.up[0]
	s.up = nil
	s.disconnect(1)
	s.connect(2)
	e := s.start()
	s.receive(late)
	s.down = nil
	s.finish(e, "42")
	if got := s.down[0].conn; got != 2 {
		t.Errorf("the reply goes to connection %d", got)
	}
}

func TestC27_XIDReuseWithOtherArgumentsClosesTheConnection(t *testing.T) {
	for name, change := range map[string]func(*Message){
		"arguments": func(m *Message) { m.Sum++ },
		"method":    func(m *Message) { m.Method++ },
	} {
		_, s := one(t, DomainOptions{})
		s.call(&Invocation{})
		other := s.up[0]
		s.deliver()
		change(&other.m)
		s.receive(other)
		if len(s.closed) != 1 || s.domain.Counts.Misused != 1 {
			t.Errorf("other %s: %d connections closed", name, len(s.closed))
		}
	}
}

func TestC27_OpenCallsAreLimited(t *testing.T) {
	_, s := one(t, DomainOptions{})
	for range 600 {
		s.call(&Invocation{})
	}
	if len(s.up) != 512 {
		t.Errorf("%d calls were sent", len(s.up))
	}
	if runs := s.serve(); runs != 600 {
		t.Errorf("%d calls ran", runs)
	}
	for seq := range uint64(1000) { // a client that does not keep to it
		s.receive(packet{1, Message{Kind: Call, Seq: 10_000 + seq}})
	}
	if n, _ := s.domain.Entries(); n > 512+2*heldMost || len(s.closed) == 0 {
		t.Errorf("%d calls are kept, %d times closed", n, len(s.closed))
	}
}

func TestC27_RepliesOverTheBudgetAreDroppedAndNothingRunsAgain(t *testing.T) {
	_, s := one(t, DomainOptions{ReplyBytes: 10})
	first, second := s.call(&Invocation{}), s.call(&Invocation{})
	s.deliver()
	s.finish(s.start(), "0123456")
	s.finish(s.start(), "6543210")
	s.down = nil
	s.disconnect(1)
	s.connect(2)
	first.want(t, ReplyLost, Executed)
	second.want(t, OK, Executed)
	if len(s.ready) > 0 || s.domain.Counts.Dropped != 1 {
		t.Errorf("%d ready, %d dropped", len(s.ready), s.domain.Counts.Dropped)
	}
}

func TestC27_SessionsAreLimited(t *testing.T) {
	r := newRig(t, DomainOptions{Sessions: 1}, 1)
	s := r.servers[0]
	s.receive(packet{9, Message{Kind: Hello, Greeting: &Handshake{Session: ID{9}}}})
	s.down = nil
	i := s.call(&Invocation{})
	s.connect(1)
	if len(r.routed) != 1 || r.routed[0] != i || s.domain.Sessions() != 1 {
		t.Errorf("%d calls routed, %d sessions", len(r.routed), s.domain.Sessions())
	}
}
