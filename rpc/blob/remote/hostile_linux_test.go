package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"rpcpool.dev/internal/certs"
	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

// stranger is a client that says what it likes.
type stranger struct {
	*link

	t     testing.TB
	seq   uint64
	heard error // last words of the server
}

func (r *rig) stranger(t testing.TB) *stranger {
	t.Helper()
	return r.strangerOf(t, frame.FeatureBulk|frame.FeatureBulkCopy)
}

// strangerOf is one that says what it has.
func (r *rig) strangerOf(t testing.TB, has frame.Features) *stranger {
	t.Helper()
	nc, err := r.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	ack, err := conn.Shake(t.Context(), nc, frame.Hello{
		Limits:   frame.Limits{MaxFrame: mostChunk, MaxMessage: mostChunk, Window: frame.MessageAllowance},
		Features: has, Required: frame.FeatureBulk, Token: []byte(token),
	}, soon)
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{link: newLink(nc, ack.Limits), t: t}
	_ = s.within(soon)
	return s
}

// ask asks, and returns what is answered.
func (s *stranger) ask(m message) (message, error) {
	s.seq++
	if err := s.send(frame.TypeBulkAsk, s.seq, 0, m.append); err != nil {
		return message{}, err
	}
	if err := s.next(); err != nil {
		s.heard = err
		return message{}, err
	}
	a, err := parse(s.body, true)
	if err != nil {
		return message{}, err
	}
	return a, refused("asked", a.Code, a.Text, a.Time)
}

// joined is a stranger that has joined.
func (r *rig) joined(t testing.TB) *stranger {
	t.Helper()
	s := r.stranger(t)
	if _, err := s.ask(message{Op: opJoin, Secret: [secretLen]byte{1, byte(time.Now().UnixNano()), 3}, Time: 60_000}); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestHostileClients break one rule each. They hear which, their connection ends, and
// nobody else notices.
func TestHostileClients(t *testing.T) {
	r := serve(t)
	other := r.client(t)
	b := noise(t, 1<<20)
	theirs := put(t, other, b)
	for _, c := range []struct {
		name string
		why  frame.Reason
		do   func(s *stranger)
	}{
		{"says nothing that is a frame", frame.ReasonUnknownType, func(s *stranger) { _, _ = s.Write(bytes.Repeat([]byte{0xee, 0, 0, 0}, 20)) }},
		{"a frame that is too long", frame.ReasonFrameSize, func(s *stranger) { _, _ = s.Write([]byte("\xff\xff\xff\x7f" + strings.Repeat("\x00", 28))) }},
		{"a call", frame.ReasonProtocol, func(s *stranger) {
			_, _ = s.Write(frame.Append(nil, &frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 9}, nil, nil))
		}},
		{"asks with a short body", frame.ReasonProtocol, func(s *stranger) {
			_ = s.send(frame.TypeBulkAsk, 9, 0, func(b []byte) []byte { return append(b, 1) })
		}},
		{"asks for what there is not", frame.ReasonProtocol, func(s *stranger) { _, _ = s.askRaw(byte(ops)) }},
		{"the same number twice", frame.ReasonProtocol, func(s *stranger) {
			s.seq = 0
			_, _ = s.ask(message{Op: opRenew})
		}},
		{"joins again", frame.ReasonProtocol, func(s *stranger) { _, _ = s.ask(message{Op: opJoin}) }},
		{"bytes that nobody wants", frame.ReasonProtocol, func(s *stranger) { _ = s.data(9, []byte("surprise")) }},
		{"a transfer without a number", frame.ReasonProtocol, func(s *stranger) { _, _ = s.ask(message{Op: opPut, Length: 4, Rights: blob.Read}) }},
		{"a copy without a number", frame.ReasonProtocol, func(s *stranger) {
			_, _ = s.ask(message{Op: opCopy, Handle: theirs.Handle(), Offset: 1, Length: 4, Rights: blob.Read})
		}},
		{"a copy of nothing", frame.ReasonProtocol, func(s *stranger) {
			_, _ = s.ask(message{Op: opCopy, Number: 1, Offset: 1, Length: 4, Rights: blob.Read})
		}},
		{"a copy that was not agreed on", frame.ReasonFeature, func(s *stranger) {
			old := r.strangerOf(t, frame.FeatureBulk)
			_, _ = old.ask(message{Op: opJoin, Secret: s.secret()})
			_, _ = old.ask(message{Op: opCopy, Number: 1, Handle: theirs.Handle(), Offset: 1, Length: 4, Rights: blob.Read})
			*s = *old
		}},
		{"a copy into bytes that are half there", frame.ReasonProtocol, func(s *stranger) {
			if _, err := s.ask(message{Op: opPut, Number: 1, Length: 4, Rights: blob.Read}); err == nil {
				_ = s.data(s.seq, []byte("12"))
			}
			again := r.stranger(t)
			_, _ = again.ask(message{Op: opJoin, Secret: s.secret()})
			_, _ = again.ask(message{Op: opCopy, Number: 1, Handle: theirs.Handle(), Offset: 1, Length: 5, Rights: blob.Read})
			*s = *again
		}},
		{"a copy into a range", frame.ReasonProtocol, func(s *stranger) {
			a, _ := s.ask(message{Op: opAllocate, Number: 1, Length: 4, Rights: blob.Read | blob.Write})
			_, _ = s.ask(message{Op: opPut, Number: 2, Handle: a.Handle, Length: 4})
			again := r.stranger(t)
			_, _ = again.ask(message{Op: opJoin, Secret: s.secret()})
			_, _ = again.ask(message{Op: opCopy, Number: 2, Handle: theirs.Handle(), Offset: 1, Length: 4, Rights: blob.Read})
			*s = *again
		}},
		{"more bytes than were said", frame.ReasonProtocol, func(s *stranger) {
			if _, err := s.ask(message{Op: opPut, Number: 1, Length: 4, Rights: blob.Read}); err == nil {
				_ = s.data(s.seq, []byte("12345"))
			}
		}},
		{"bytes of another transfer", frame.ReasonProtocol, func(s *stranger) {
			if _, err := s.ask(message{Op: opPut, Number: 1, Length: 4, Rights: blob.Read}); err == nil {
				_ = s.data(s.seq+1, []byte("1234"))
			}
		}},
		{"asks within a transfer", frame.ReasonProtocol, func(s *stranger) {
			if _, err := s.ask(message{Op: opPut, Number: 1, Length: 4, Rights: blob.Read}); err == nil {
				_, _ = s.ask(message{Op: opRenew})
			}
		}},
		{"a transfer of another length", frame.ReasonProtocol, func(s *stranger) {
			_, _ = s.ask(message{Op: opPut, Number: 1, Length: 4, Rights: blob.Read})
			again := r.stranger(t)
			_, _ = again.ask(message{Op: opJoin, Secret: s.secret()})
			_, _ = again.ask(message{Op: opPut, Number: 1, Length: 5, Rights: blob.Read})
			*s = *again
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := r.stranger(t)
			if _, err := s.ask(message{Op: opJoin, Secret: s.secret(), Time: 60_000}); err != nil {
				t.Fatal(err)
			}
			c.do(s)
			err := s.drain()
			var why *frame.Error
			if !errors.As(err, &why) || why.Reason != c.why || why.Text == "" {
				t.Errorf("it hears %v, want reason %v", err, c.why)
			}
			wantBytes(t, other, theirs.Handle(), b)
		})
	}
}

// secret is of this test's stranger.
func (s *stranger) secret() (secret [secretLen]byte) {
	copy(secret[:], s.t.Name())
	copy(secret[8:], s.t.Name()[max(0, len(s.t.Name())-8):])
	return secret
}

func (s *stranger) askRaw(first byte) (int, error) {
	return s.Write(frame.Append(nil, &frame.Header{Type: frame.TypeBulkAsk, Seq: 9}, nil, append([]byte{first}, make([]byte, fixedLen-1)...)))
}

// drain reads until the connection ends, and returns why.
func (s *stranger) drain() error {
	for {
		if s.heard != nil {
			return s.heard
		}
		if err := s.next(); err != nil {
			return err
		}
		if s.head.Type == frame.TypeBulkData {
			if _, err := io.CopyN(io.Discard, s.in, int64(s.head.BodyLen)); err != nil {
				return err
			}
		}
	}
}

// TestForgedAndStaleHandlesAreRefused with one clear error each; the connection goes on.
func TestForgedAndStaleHandlesAreRefused(t *testing.T) {
	r := serve(t)
	owner, thief := r.client(t), r.client(t)
	b, err := owner.Put(t.Context(), noise(t, 10_000), blob.Read)
	if err != nil {
		t.Fatal(err)
	}
	h := share(t, b, blob.Read)
	forged, wider, otherHost, mine := h, h, h, put(t, thief, []byte("mine alone"))
	forged.Token[3] ^= 1
	wider.Length++
	otherHost.Domain[0] ^= 1
	buf := make([]byte, 10)
	for name, c := range map[string]struct {
		do   func(h blob.Handle) error
		h    blob.Handle
		want error
	}{
		"get by a forged token":      {func(h blob.Handle) error { return thief.Get(t.Context(), h, 0, buf) }, forged, blob.ErrForged},
		"get by a widened handle":    {func(h blob.Handle) error { return thief.Get(t.Context(), h, 0, buf) }, wider, blob.ErrForged},
		"get by a handle of another": {func(h blob.Handle) error { return thief.Get(t.Context(), h, 0, buf) }, otherHost, blob.ErrDomain},
		"get what is not shared":     {func(h blob.Handle) error { return owner.Get(t.Context(), h, 0, buf) }, mine.Handle(), blob.ErrRights},
		"get behind the end":         {func(h blob.Handle) error { return thief.Get(t.Context(), h, h.Length-5, buf) }, h, blob.ErrRange},
		"get where numbers wrap":     {func(h blob.Handle) error { return thief.Get(t.Context(), h, 1<<64-5, buf) }, h, blob.ErrRange},
		"put to what is read only":   {func(h blob.Handle) error { return thief.PutAt(t.Context(), h, 0, buf) }, h, blob.ErrRights},
		"put to the owner's handle":  {func(h blob.Handle) error { return thief.PutAt(t.Context(), h, 0, buf) }, b.Handle(), blob.ErrRights},
		"put to an account":          {func(h blob.Handle) error { return thief.PutAt(t.Context(), h, 0, nil) }, owner.Account(), blob.ErrRights},
		"free what is of another":    {func(h blob.Handle) error { return thief.Adopt(h).Free(t.Context()) }, b.Handle(), blob.ErrRights},
		"share what is of another":   {func(h blob.Handle) error { _, err := thief.Adopt(h).Share(t.Context(), 0, 1, blob.Read); return err }, b.Handle(), blob.ErrRights},
		"slice more than there is":   {func(h blob.Handle) error { _, err := thief.Slice(t.Context(), h, 1, h.Length, blob.Read); return err }, h, blob.ErrRange},
		"slice with more rights":     {func(h blob.Handle) error { _, err := thief.Slice(t.Context(), h, 0, 1, blob.Write); return err }, h, blob.ErrRights},
		"more memory than there is":  {func(blob.Handle) error { _, err := thief.Allocate(t.Context(), 1<<63, blob.Read); return err }, h, blob.ErrQuota},
		"a blob with odd rights":     {func(blob.Handle) error { _, err := thief.Allocate(t.Context(), 1, blob.Pay); return err }, h, blob.ErrRights},
	} {
		wantErr(t, name, c.do(c.h), c.want)
	}
	if err := b.Free(t.Context()); err != nil {
		t.Error(err)
	}
	put(t, owner, noise(t, 10_000)) // has its id
	wantErr(t, "get by a handle whose id was used again", thief.Get(t.Context(), h, 0, buf), blob.ErrGone)
	if n := thief.Conns(); n != 1 {
		t.Errorf("%d connections were needed", n)
	}
}

// TestNobodyIsAPartyByGuessing, nor without the token that calls need, nor by saying
// nothing.
func TestNobodyIsAPartyByGuessing(t *testing.T) {
	r := serve(t, func(s *setting) { s.server.Patience = 50 * time.Millisecond })
	_, err := Dial(t.Context(), Options{Dial: r.dial, Token: []byte("please")})
	wantErr(t, "a wrong token", err, &frame.Error{Reason: frame.ReasonUnauthorised})
	_, err = r.stranger(t).ask(message{Op: opJoin, Flags: flagKnown, Secret: [secretLen]byte{42}})
	wantErr(t, "a secret that nobody has", err, blob.ErrParty)
	_, err = r.stranger(t).ask(message{Op: opJoin})
	wantErr(t, "no secret", err, &frame.Error{Reason: frame.ReasonProtocol})
	_, err = r.stranger(t).ask(message{Op: opRenew})
	wantErr(t, "not joined", err, &frame.Error{Reason: frame.ReasonProtocol})
	silent := r.stranger(t)
	if err := silent.next(); !errors.Is(err, errGone) {
		t.Errorf("who says nothing hears %v", err)
	}
	if n := r.server.Parties(); n != 0 {
		t.Errorf("%d parties", n)
	}
}

// TestSlowClientsHoldNobodyUp: one that puts and stops, and one that gets and does not
// read what others want to write.
func TestSlowClientsHoldNobodyUp(t *testing.T) {
	r := serve(t, func(s *setting) { s.server.Patience = 100 * time.Millisecond })
	owner := r.client(t)
	b := noise(t, 32<<20) // more than sockets take
	have := put(t, owner, b)
	h := share(t, have, blob.Read|blob.Write)
	slow := r.joined(t)
	slow.seq++
	if err := slow.send(frame.TypeBulkAsk, slow.seq, 0, (&message{Op: opGet, Handle: h, Length: h.Length}).append); err != nil {
		t.Fatal(err)
	}
	lazy := r.joined(t)
	if _, err := lazy.ask(message{Op: opPut, Number: 1, Length: 1 << 20, Rights: blob.Read}); err != nil {
		t.Fatal(err)
	}
	within(t, "the slow one is cut off", func() bool {
		err := have.Write(t.Context(), []byte("new"), 0)
		if err != nil && !errors.Is(err, blob.ErrBusy) {
			t.Fatal(err)
		}
		return err == nil
	})
	if err := slow.drain(); err == nil {
		t.Error("the slow one gets all")
	}
	if err := lazy.drain(); !errors.Is(err, errGone) {
		t.Errorf("the lazy one hears %v", err)
	}
	r.clock.add(maxLease)
	r.server.expire()
	within(t, "what the lazy one had is free", func() bool { return r.host.Snapshot().Parties == 0 })
}

// TestWhatOnePartyMayHaveIsBounded: connections, transfers, references; and the parties are.
func TestWhatOnePartyMayHaveIsBounded(t *testing.T) {
	r := serve(t, func(s *setting) {
		s.server.Parties, s.server.Conns, s.server.Transfers, s.server.References = 1, 2, 3, 4
	})
	secret := [secretLen]byte{7}
	first := r.stranger(t)
	for i := range 3 {
		s := first
		if i > 0 {
			s = r.stranger(t)
		}
		_, err := s.ask(message{Op: opJoin, Secret: secret})
		if i < 2 && err != nil || i == 2 && !errors.Is(err, ErrMany) {
			t.Errorf("connection %d: %v", i+1, err)
		}
	}
	_, err := r.stranger(t).ask(message{Op: opJoin, Secret: [secretLen]byte{8}})
	wantErr(t, "another party", err, ErrMany)
	var h blob.Handle
	for i := range uint64(4) {
		a, err := first.ask(message{Op: opAllocate, Number: i + 1, Length: 10, Rights: blob.Read})
		if i < 3 && err != nil || i == 3 && !errors.Is(err, ErrMany) {
			t.Errorf("transfer %d: %v", i+1, err)
		}
		if i == 0 {
			h = a.Handle
		}
	}
	for i := range uint64(5) {
		_, err := first.ask(message{Op: opAcquire, Number: i + 1, Handle: h, Mode: blob.Pin})
		if i < 4 && err != nil || i == 4 && !errors.Is(err, ErrMany) {
			t.Errorf("reference %d: %v", i+1, err)
		}
	}
}

// TestHostileServers get no further than one error, and write nowhere else.
func TestHostileServers(t *testing.T) {
	answer := func(l *link, m message) { _ = l.send(frame.TypeBulkAnswer, l.head.Seq, 0, m.append) }
	for name, say := range map[string]func(l *link){
		"more bytes than were asked for": func(l *link) {
			answer(l, message{Length: 100})
			_ = l.data(l.head.Seq, make([]byte, 101))
		},
		"another length":      func(l *link) { answer(l, message{Length: 1 << 40}) },
		"bytes of another":    func(l *link) { answer(l, message{Length: 100}); _ = l.data(l.head.Seq+1, make([]byte, 10)) },
		"an answer to others": func(l *link) { l.head.Seq++; answer(l, message{Length: 100}) },
		"too few bytes": func(l *link) {
			answer(l, message{Length: 100})
			_ = l.data(l.head.Seq, make([]byte, 10))
			_ = l.send(frame.TypeBulkReady, l.head.Seq, 0, (&ready{Length: 100}).append)
		},
		"nothing that is a frame": func(l *link) { _, _ = l.Write(make([]byte, 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			done := make(chan struct{})
			go func() {
				defer close(done)
				nc, err := l.Accept()
				if err != nil {
					return
				}
				defer nc.Close()
				badServer(nc, say)
			}()
			c, err := Dial(t.Context(), Options{Dial: (&rig{addr: l.Addr().String()}).dial})
			if err != nil {
				t.Fatal(err)
			}
			err = c.Get(t.Context(), blob.Handle{Rights: blob.Read, Length: 100}, 0, make([]byte, 100))
			var bad *frame.Error
			if !errors.As(err, &bad) && !errors.Is(err, ErrChecksum) {
				t.Errorf("error is %v", err)
			}
			_ = c.Close()
			<-done
		})
	}
}

// badServer welcomes a client, says something bad, and listens until it has gone.
func badServer(nc net.Conn, say func(l *link)) {
	bulk := make(chan struct{})
	s, err := conn.NewServer(conn.ServerOptions{
		Handler: nobody{},
		Admit: func(h *frame.Hello) frame.HelloAck {
			return frame.Answer(h, frame.HelloAck{Features: frame.FeatureBulk})
		},
		Bulk: func(_ context.Context, nc net.Conn, from frame.Hello) {
			defer close(bulk)
			l := newLink(nc, from.Limits)
			if l.next() != nil {
				return
			}
			_ = l.send(frame.TypeBulkAnswer, l.head.Seq, 0, (&message{Handle: blob.Handle{Rights: blob.Pay}, Time: 60_000}).append)
			if l.next() != nil {
				return
			}
			say(l)
			_, _ = io.Copy(io.Discard, nc)
		},
	})
	if err != nil {
		return
	}
	_, _ = s.ServeConn(nc)
	<-bulk
	_ = s.Close()
}

// TestTLSAppliesAsForCalls: bytes go by it, and by nothing else where it is asked for.
func TestTLSAppliesAsForCalls(t *testing.T) {
	ours, theirs := certs.NewAuthority(t).TLS("far")
	r := serve(t, func(s *setting) {
		s.wrap = func(l net.Listener) net.Listener {
			return tls.NewListener(l, ours)
		}
	})
	dial := func(ctx context.Context) (net.Conn, error) {
		nc, _, err := conn.DialEndpoint(ctx, conn.PoolOptions{}, conn.Endpoint{ID: "far", TCP: r.addr, TLS: theirs})
		return nc, err
	}
	c := r.client(t, func(o *Options) { o.Dial = dial })
	b := noise(t, 3<<20+1)
	wantBytes(t, c, put(t, c, b).Handle(), b)
	if _, err := Dial(t.Context(), Options{Dial: r.dial, Token: []byte(token)}); err == nil {
		t.Error("a client without TLS is let in")
	}
}
