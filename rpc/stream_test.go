package rpc

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/conn"
)

// sum adds what it is sent to what it is started with, and says the sum after each item.
func sum(_ context.Context, start int, s *ServerStream[int, int]) error {
	for {
		n, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n < 0 {
			return Fail("negative", nil, "%d is negative", n)
		}
		start += n
		if err := s.Send(start); err != nil {
			return err
		}
	}
}

func TestAStreamHasItemsInBothDirections(t *testing.T) {
	both(t, ServerOptions{}, func(s *Server) { HandleStream(s, "Sum", sum) }, func(t *testing.T, c Caller) {
		ctx := soon(t)
		s, err := OpenStream[int, int](ctx, c, "Sum", 100)
		if err != nil {
			t.Fatal(err)
		}
		want := 100
		for i := range 1000 {
			want += i
			if err := s.Send(ctx, i); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Recv(ctx); got != want || err != nil {
				t.Fatalf("item %d: %d, %v", i, got, err)
			}
		}
		if err := s.CloseSend(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(ctx); !errors.Is(err, io.EOF) {
			t.Errorf("after the last item: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if n := s.Received(); n != 1000 {
			t.Errorf("%d items", n)
		}
	})
}

// An item that arrived before the start of its stream would be one of a stream that is over.
func TestItemsDoNotOvertakeTheirStart(t *testing.T) {
	for _, x := range []struct {
		name  string
		args  int // bytes
		times int
		opts  []CallOption
	}{
		{"many streams", 1, 500, nil},
		{"a start of many chunks", 3 << 20, 10, nil},
		{"a start that is less urgent than others", 1, 100, []CallOption{Bulk}},
		{"a long start that is more urgent than others", 1 << 20, 10, []CallOption{Interactive}},
	} {
		t.Run(x.name, func(t *testing.T) {
			both(t, ServerOptions{}, func(s *Server) {
				HandleStream(s, "Echo", func(_ context.Context, _ []byte, s *ServerStream[int, int]) error {
					n, err := s.Recv()
					if err != nil {
						return err
					}
					return s.Send(n)
				})
			}, func(t *testing.T, c Caller) {
				ctx := soon(t)
				args := make([]byte, x.args)
				for i := range x.times {
					s, err := OpenStream[int, int](ctx, c, "Echo", args, x.opts...)
					if err != nil {
						t.Fatal(err)
					}
					if err := s.Send(ctx, i); err != nil {
						t.Fatal(err)
					}
					if got, err := s.Recv(ctx); got != i || err != nil {
						t.Fatalf("stream %d: %d, %v", i, got, err)
					}
					if _, err := s.Recv(ctx); !errors.Is(err, io.EOF) {
						t.Fatalf("end of stream %d: %v", i, err)
					}
				}
			})
		})
	}
}

func TestAStreamsErrorIsTold(t *testing.T) {
	both(t, ServerOptions{}, func(s *Server) { HandleStream(s, "Sum", sum) }, func(t *testing.T, c Caller) {
		ctx := soon(t)
		s, err := OpenStream[int, int](ctx, c, "Sum", 0)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Send(ctx, 1)
		_ = s.Send(ctx, -1)
		if got, err := s.Recv(ctx); got != 1 || err != nil {
			t.Fatalf("%d, %v", got, err)
		}
		if _, err := s.Recv(ctx); !errors.Is(err, Reason("negative")) || !errors.Is(err, Executed) {
			t.Error(err)
		}
	})
}

// TestC27_AHandlerPanicsAfterHalfAStream: what it has sent has arrived, and the end says why there is no more.
func TestC27_AHandlerPanicsAfterHalfAStream(t *testing.T) {
	const items = 3
	both(t, ServerOptions{}, func(s *Server) {
		HandleStream(s, "Half", func(_ context.Context, size int, s *ServerStream[int, []byte]) error {
			for i := range items {
				if err := s.Send(append(make([]byte, size), byte(i))); err != nil {
					return err
				}
			}
			panic("oh")
		})
	}, func(t *testing.T, c Caller) {
		for _, size := range []int{0, 100 << 10} {
			s, err := OpenStream[int, []byte](soon(t), c, "Half", size)
			if err != nil {
				t.Fatal(err)
			}
			for i := range items {
				if b, err := s.Recv(soon(t)); err != nil || len(b) != size+1 || b[size] != byte(i) {
					t.Fatalf("item %d: %d bytes, %v", i, len(b), err)
				}
			}
			if _, err := s.Recv(soon(t)); !errors.Is(err, Failed) || !errors.Is(err, Executed) || !strings.Contains(err.Error(), "panicked: oh") {
				t.Errorf("the end is %v", err)
			}
			if n := s.Received(); n != items {
				t.Errorf("%d items have arrived", n)
			}
			if err := s.Send(soon(t), 1); err == nil {
				t.Error("an item for a handler that is no more")
			}
			if err := s.Close(); !errors.Is(err, Failed) {
				t.Errorf("closed: %v", err)
			}
		}
	})
}

// A method that is none runs with no stream to its handler: its result would be nobody's.
func TestAStreamOfAMethodThatIsNoneIsRefused(t *testing.T) {
	var ran atomic.Int32
	both(t, ServerOptions{}, func(s *Server) {
		Handle(s, "Echo", func(_ context.Context, n int) (int, error) { ran.Add(1); return n, nil })
		Handle(s, "Bytes", func(_ context.Context, b []byte) ([]byte, error) { ran.Add(1); return b, nil })
		if err := s.Register(new(Arith), ""); err != nil {
			t.Fatal(err)
		}
	}, func(t *testing.T, c Caller) {
		for method, args := range map[string]any{"Echo": 1, "Bytes": []byte("x"), "Arith.Divide": Operands{1, 1}} {
			s, err := OpenStream[int, int](soon(t), c, method, args)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Recv(soon(t)); !errors.Is(err, Invalid) || !errors.Is(err, NotExecuted) {
				t.Errorf("%s: %v", method, err)
			}
			_ = s.Close()
		}
	})
	if n := ran.Load(); n != 0 {
		t.Errorf("%d have run", n)
	}
}

func TestABigSlowStreamIsBoundedAndWhole(t *testing.T) {
	const items, size = 64, 100 << 10
	both(t, ServerOptions{}, func(s *Server) {
		HandleStream(s, "Blocks", func(_ context.Context, _ int, s *ServerStream[[]byte, []byte]) error {
			for i := range items {
				b := make([]byte, size+i)
				b[0] = byte(i)
				if err := s.Send(b); err != nil {
					return err
				}
			}
			return nil
		})
	}, func(t *testing.T, c Caller) {
		ctx := soon(t)
		s, err := OpenStream[[]byte, []byte](ctx, c, "Blocks", 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range items {
			b, err := s.Recv(ctx)
			if err != nil || len(b) != size+i || b[0] != byte(i) {
				t.Fatalf("item %d: %d bytes, %v", i, len(b), err)
			}
		}
		if _, err := s.Recv(ctx); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
}

func TestAStreamThatIsClosedInterruptsItsHandler(t *testing.T) {
	both(t, ServerOptions{}, func(s *Server) {
		HandleStream(s, "Endless", func(_ context.Context, _ int, s *ServerStream[int, int]) error {
			for i := 0; ; i++ {
				if err := s.Send(i); err != nil {
					return err
				}
			}
		})
		Handle(s, "Plain", func(context.Context, int) (int, error) { return 1, nil })
	}, func(t *testing.T, c Caller) {
		ctx := soon(t)
		s, err := OpenStream[int, int](ctx, c, "Endless", 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := Call[int](ctx, c, "Plain", 0); err != nil {
			t.Errorf("a slow reader of a stream holds up other calls: %v", err)
		}
		if err := s.Close(); err == nil || errors.Is(err, NotExecuted) {
			t.Error(err)
		}
		if _, err := Call[int](ctx, c, "Endless", 0); !errors.Is(err, Invalid) || !strings.Contains(err.Error(), "stream") {
			t.Error(err)
		}
	})
}

// TestAnItemThatIsNotTakenHoldsNobodyPastItsContext: the receiver has no room for a long item, as it has not read another.
// Its sender waits until its context ends, and leaves a connection that is in order.
func TestAnItemThatIsNotTakenHoldsNobodyPastItsContext(t *testing.T) {
	const most, long = 1 << 20, 900 << 10
	narrow := conn.Options{MaxMessage: most, MaxAssembly: most}
	sent := make(chan error, 2)
	serving := func(t *testing.T, o ServerOptions) string {
		s, err := NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		HandleStream(s, "Big", func(ctx context.Context, _ int, st *ServerStream[int, []byte]) error {
			sent <- st.Send(make([]byte, long))
			<-ctx.Done()
			return nil
		})
		HandleStream(s, "Deaf", func(ctx context.Context, _ int, _ *ServerStream[[]byte, int]) error {
			<-ctx.Done()
			return ctx.Err()
		})
		Handle(s, "Echo", func(_ context.Context, s string) (string, error) { return s, nil })
		return "unix:" + served(t, s)
	}
	inOrder := func(t *testing.T, c *Client) {
		t.Helper()
		if got, err := Call[string](soon(t), c, "Echo", "x"); got != "x" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if n := c.Counts().Sockets.Dials; n != 1 {
			t.Errorf("%d connections", n)
		}
	}
	t.Run("a server", func(t *testing.T) {
		c := dial(t, ClientOptions{Conn: narrow}, serving(t, ServerOptions{}))
		first, err := OpenStream[int, []byte](soon(t), c, "Big", 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		for first.Received() == 0 {
			time.Sleep(time.Millisecond)
		}
		ctx, cancel := context.WithTimeout(soon(t), 200*time.Millisecond)
		defer cancel()
		second, err := OpenStream[int, []byte](ctx, c, "Big", 0)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-sent:
			if err == nil {
				t.Error("sent")
			}
		case <-time.After(20 * time.Second):
			t.Error("the handler waits on")
		}
		if err := second.Close(); err == nil { // its handler says nothing
			t.Error("the call has a result")
		}
		if b, err := first.Recv(soon(t)); len(b) != long || err != nil {
			t.Errorf("the first item: %d bytes, %v", len(b), err)
		}
		_ = first.Close()
		inOrder(t, c)
	})
	t.Run("a client", func(t *testing.T) {
		c := dial(t, ClientOptions{}, serving(t, ServerOptions{Conn: narrow}))
		open := func() *Stream[[]byte, int] {
			s, err := OpenStream[[]byte, int](soon(t), c, "Deaf", 0)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		first, second := open(), open()
		if err := first.Send(soon(t), make([]byte, long)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(soon(t), 200*time.Millisecond)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- second.Send(ctx, make([]byte, long)) }()
		select {
		case err := <-ended:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("sent: %v", err)
			}
		case <-time.After(15 * time.Second):
			t.Error("the caller waits on")
		}
		if _, err := second.Recv(soon(t)); !errors.Is(err, Canceled) {
			t.Errorf("the call: %v", err)
		}
		_ = first.Close()
		inOrder(t, c)
	})
}
