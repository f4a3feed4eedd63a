package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/blob"
	"rpcpool.dev/rpc/frame"
)

// member is a connection of a client, the same in all of a test.
func (r *rig) member(t testing.TB) *stranger {
	t.Helper()
	s := r.stranger(t)
	if _, err := s.ask(message{Op: opJoin, Secret: s.secret(), Time: 60_000}); err != nil {
		t.Fatal(err)
	}
	return s
}

// holder is a connection that is slow: what is sent from some time on goes when the test says so, be the connection
// closed meanwhile.
type holder struct {
	net.Conn

	holds atomic.Bool
	has   chan []byte
}

func (h *holder) Write(b []byte) (int, error) {
	if !h.holds.Load() {
		return h.Conn.Write(b)
	}
	h.has <- bytes.Clone(b)
	return len(b), nil
}

func (h *holder) Close() error {
	if !h.holds.Load() {
		return h.Conn.Close()
	}
	return h.SetReadDeadline(time.Unix(1, 0))
}

// pass lets what was sent go, and returns when it is answered.
func (h *holder) pass(t *testing.T, b []byte) {
	t.Helper()
	_, err := h.Conn.Write(b)
	if err == nil {
		err = h.SetReadDeadline(time.Now().Add(soon))
	}
	if err == nil {
		_, err = io.ReadFull(h.Conn, make([]byte, frame.HeaderLen))
	}
	if err := errors.Join(err, h.Conn.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestWhatIsOverIsNotBegunLate: a client gives up what it has asked for, or has had its answer, and says so by another
// connection; what it has asked for by the first one, which was slower, comes then.
func TestWhatIsOverIsNotBegunLate(t *testing.T) {
	asks := map[string]message{
		"an allocation": {Op: opAllocate, Number: 7, Length: 1000, Rights: blob.Read},
		"a put":         {Op: opPut, Number: 7, Length: 1000, Rights: blob.Read},
		"a copy":        {Op: opCopy, Number: 7, Length: 1000, Rights: blob.Read},
	}
	for name, say := range map[string]func(s *stranger) error{
		"is given up": func(s *stranger) error {
			_, err := s.ask(message{Op: opForget, Number: 7})
			return err
		},
		"is over as all before it are": func(s *stranger) error {
			s.seq++
			if err := s.send(frame.TypeBulkAsk, s.seq, 7, (&message{Op: opRenew}).append); err != nil {
				return err
			}
			return s.next()
		},
		"is over, and one before it is not": func(s *stranger) error {
			a, err := s.ask(message{Op: opAllocate, Number: 8, Length: 1, Rights: blob.Read, Time: 7})
			if err == nil {
				_, err = s.ask(message{Op: opFree, Handle: a.Handle})
			}
			return err
		},
	} {
		for what, m := range asks {
			t.Run(what+" "+name, func(t *testing.T) {
				r := serve(t)
				slow := r.member(t)
				if m.Op == opCopy {
					m.Handle = share(t, put(t, r.client(t), []byte("there")), blob.Read)
				}
				before := r.host.Counts().Blobs
				if err := say(r.member(t)); err != nil {
					t.Fatal(err)
				}
				_, err := slow.ask(m)
				wantErr(t, "it comes late", err, errGivenUp)
				if n := r.host.Counts().Blobs; n != before {
					t.Errorf("there are %d blobs, %d before", n, before)
				}
				if m.Number = 9; m.Op == opPut { // its bytes would have to follow
					m.Op = opAllocate
				}
				if _, err := slow.ask(m); err != nil {
					t.Errorf("the next: %v", err)
				}
			})
		}
	}
}

// TestAReferenceThatIsGivenBackIsNotTakenLate: for the same reason.
func TestAReferenceThatIsGivenBackIsNotTakenLate(t *testing.T) {
	r := serve(t)
	b := put(t, r.client(t), []byte("there"))
	slow := r.member(t)
	open := message{Op: opAcquire, Number: 7, Handle: share(t, b, blob.Read), Mode: blob.In}
	if _, err := r.member(t).ask(message{Op: opRelease, Number: 7}); err != nil {
		t.Fatal(err)
	}
	_, err := slow.ask(open)
	wantErr(t, "it comes late", err, errGivenUp)
	open.Number = 6
	if _, err := slow.ask(open); err != nil {
		t.Errorf("another one: %v", err)
	}
}

// slow returns a client whose first connection can be held, and whether it reaches the server by others.
func (r *rig) slow(t *testing.T, change ...func(*Options)) (c *Client, first *holder, down *atomic.Bool) {
	t.Helper()
	down = &atomic.Bool{}
	c = r.client(t, append(change, func(o *Options) {
		o.Dial = func(ctx context.Context) (net.Conn, error) {
			if down.Load() {
				return nil, errCut
			}
			nc, err := r.dial(ctx)
			if err != nil || first != nil {
				return nc, err
			}
			first = &holder{Conn: nc, has: make(chan []byte, 1)}
			return first, nil
		}
	})...)
	return c, first, down
}

// giveUp gives up an allocation, and returns what was to be sent for it.
func giveUp(t *testing.T, c *Client, by *holder) (asked []byte) {
	t.Helper()
	by.holds.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error)
	go func() {
		_, err := c.Allocate(ctx, 1000, blob.Read)
		over <- err
	}()
	asked = <-by.has
	cancel()
	wantErr(t, "given up", <-over, context.Canceled)
	return asked
}

// TestAnAllocationThatIsGivenUpLeavesNothing, although the server hears of it after that.
func TestAnAllocationThatIsGivenUpLeavesNothing(t *testing.T) {
	r := serve(t)
	c, slow, _ := r.slow(t)
	asked := giveUp(t, c, slow)
	within(t, "said so", func() bool { return c.ack() > 0 })
	if _, err := c.ask(t.Context(), "renew", &message{Op: opRenew}); err != nil { // it hears that the client knows
		t.Fatal(err)
	}
	slow.pass(t, asked)
	if n := r.host.Counts().Blobs; n > 0 {
		t.Fatalf("%d blobs are nobody's", n)
	}
	r.atRest(t)
}

// TestWhatIsGivenUpIsSaidWhenTheServerIsThereAgain, although all else would have been given up by then.
func TestWhatIsGivenUpIsSaidWhenTheServerIsThereAgain(t *testing.T) {
	r := serve(t)
	c, slow, down := r.slow(t, func(o *Options) { o.Retry = time.Nanosecond })
	down.Store(true)
	slow.pass(t, giveUp(t, c, slow))
	if n := r.host.Counts().Blobs; n != 1 {
		t.Fatalf("there are %d blobs", n)
	}
	_, err := c.ask(t.Context(), "renew", &message{Op: opRenew})
	wantErr(t, "out of reach", err, errCut)
	down.Store(false)
	if _, err := c.ask(t.Context(), "renew", &message{Op: opRenew}); err != nil {
		t.Fatal(err)
	}
	r.atRest(t)
}
