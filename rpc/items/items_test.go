package items

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/frame"
)

// wire is the other end of a connection: it notes what is sent.
type wire struct {
	sent []conn.Message
	err  error
}

func (w *wire) Send(_ context.Context, m *conn.Message) error {
	w.sent = append(w.sent, *m)
	return w.err
}
func (w *wire) TrySend(m *conn.Message) error { return w.Send(context.Background(), m) }
func (w *wire) Queue(m *conn.Message) error   { return w.Send(context.Background(), m) }
func (*wire) Hold() bool                      { return true }
func (*wire) Release()                        {}

// arrive gives an item to a stream.
func arrive(t *testing.T, s *Stream, body []byte, last bool) {
	t.Helper()
	if err := s.Arrived(&conn.In{Body: body}, last); err != nil {
		t.Fatal(err)
	}
}

func TestASenderWaitsForCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		s := New(w, Client, 7, frame.PriorityNormal)
		item := make([]byte, 1<<10)
		done := make(chan int)
		go func() {
			n := 0
			for s.Send(t.Context(), item) == nil {
				n++
			}
			done <- n
		}()
		synctest.Wait()
		if n, want := len(w.sent), (Window-1)/(Overhead+len(item))+1; n != want {
			t.Errorf("%d items without a word of the receiver, want %d", n, want)
		}
		s.Credit(2 * Window)
		s.Credit(Window) // a lower one changes nothing
		synctest.Wait()
		if n, want := len(w.sent), (2*Window-1)/(Overhead+len(item))+1; n != want {
			t.Errorf("%d items after credit, want %d", n, want)
		}
		s.Break(conn.ErrCut)
		if n := <-done; uint64(n) != s.Sent() || n != len(w.sent) {
			t.Errorf("%d items were sent, it says %d", n, s.Sent())
		}
		for _, m := range w.sent {
			if m.Type != frame.TypeCall || m.Flags != frame.FlagStream || m.Seq != 7 {
				t.Fatalf("an item is %+v", m.Header)
			}
		}
	})
}

// Of what is short and read, nothing is said until it is half a window.
func TestALongItemAfterShortOnesDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		from, to := New(w, Client, 7, frame.PriorityNormal), New(w, Server, 7, frame.PriorityNormal)
		for _, n := range []int{100, 2 * Window, 10, Window, 2 * Window} {
			done := make(chan error, 1)
			go func() { done <- from.Send(t.Context(), make([]byte, n)) }()
			synctest.Wait()
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
			default:
				t.Fatalf("an item of %d bytes waits, although all before it are read", n)
			}
			arrive(t, to, make([]byte, n), false)
			if _, err := to.Recv(t.Context()); err != nil {
				t.Fatal(err)
			}
			if m := &w.sent[len(w.sent)-1]; m.Type == frame.TypeItems {
				if err := from.Message(&conn.In{Header: m.Header, Body: m.Body}); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func TestAReaderGivesCreditWhenHalfIsRead(t *testing.T) {
	w := &wire{}
	s := New(w, Server, 7, frame.PriorityNormal)
	body := make([]byte, 8<<10)
	for s.arrived+uint64(Overhead+len(body)) <= Window {
		arrive(t, s, body, false)
	}
	for i := 0; len(w.sent) == 0; i++ {
		if _, err := s.Recv(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.read > Window/2+uint64(Overhead+len(body)) {
			t.Fatalf("%d bytes are read, and nothing is said", s.read)
		}
	}
	limit, err := frame.ParseCredit(w.sent[0].Body)
	if err != nil || w.sent[0].Type != frame.TypeItems || uint64(limit) != s.read+Window {
		t.Errorf("%+v, limit %d of %d read, %v", w.sent[0].Header, limit, s.read, err)
	}
}

func TestWhoSendsMoreThanHeMayIsFoundOut(t *testing.T) {
	s := New(&wire{}, Server, 7, frame.PriorityNormal)
	body := make([]byte, 64<<10)
	var err error
	for i := 0; err == nil && i < 16; i++ {
		err = s.Arrived(&conn.In{Body: body[:conn.LongBody-1]}, false)
		for range 8 {
			if err == nil {
				err = s.Arrived(&conn.In{Body: body[:conn.LongBody-1]}, false)
			}
		}
	}
	if !errors.Is(err, ErrOverrun) {
		t.Errorf("it takes %d bytes: %v", s.arrived, err)
	}
}

func TestTheEndComesBehindWhatHasArrived(t *testing.T) {
	s := New(&wire{}, Server, 7, frame.PriorityNormal)
	arrive(t, s, []byte("a"), false)
	arrive(t, s, []byte("b"), true)
	arrive(t, s, []byte("late"), false)
	for _, want := range []string{"a", "b"} {
		if got, err := s.Recv(t.Context()); string(got) != want || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, err := s.Recv(t.Context()); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if n := s.Received(); n != 2 {
		t.Errorf("%d items", n)
	}
}

func TestABrokenStreamSaysWhy(t *testing.T) {
	w := &wire{}
	s := New(w, Client, 7, frame.PriorityNormal)
	if err := s.CloseSend(t.Context()); err != nil || w.sent[0].Flags&frame.FlagEnd == 0 {
		t.Errorf("%+v, %v", w.sent, err)
	}
	if err := s.Send(t.Context(), nil); err == nil {
		t.Error("an item behind the last one")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Recv(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.Break(conn.ErrCut)
	if _, err := s.Recv(t.Context()); !errors.Is(err, conn.ErrCut) {
		t.Error(err)
	}
	over := New(&wire{err: conn.ErrClosed}, Server, 8, frame.PriorityNormal)
	if err := over.Send(t.Context(), make([]byte, conn.LongBody)); !errors.Is(err, conn.ErrClosed) {
		t.Error(err)
	}
	over.Break(io.EOF)
	if err := over.Send(t.Context(), nil); err == nil {
		t.Error("an item of a call that has ended")
	}
}
