package rpc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rpcpool.dev/rpc/client"
	"rpcpool.dev/rpc/conn"
	"rpcpool.dev/rpc/crash"
	"rpcpool.dev/rpc/server"
)

// served serves until the test ends, and returns the path of the socket.
func served(t testing.TB, s *Server) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := s.Listen(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return path
}

// serving is a server at a socket, and a client of it.
func serving(t *testing.T, so ServerOptions, co ClientOptions, prepare func(*Server)) (*Server, *Client) {
	t.Helper()
	s, err := NewServer(so)
	if err != nil {
		t.Fatal(err)
	}
	prepare(s)
	address := "unix:" + served(t, s)
	c, err := Dial(co, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
	})
	return s, c
}

func TestOptionsOfACall(t *testing.T) {
	var ended sync.WaitGroup
	var ran atomic.Int32
	ended.Add(1)
	_, c := serving(t, ServerOptions{}, ClientOptions{OneWayEnd: func(method string, err error) {
		if method != "Add" || err != nil {
			t.Errorf("one-way call of %s ends with %v", method, err)
		}
		ended.Done()
	}}, func(s *Server) {
		Handle(s, "Add", func(_ context.Context, n int) (int, error) { return int(ran.Add(int32(n))), nil })
	})
	ctx := soon(t)
	if err := CallInto(ctx, c, "Add", 5, nil, OneWay); err != nil {
		t.Fatal(err)
	}
	ended.Wait()
	for _, o := range []CallOption{Interactive, Bulk, ReadOnly, WaitForReady, Lane(3)} {
		if _, err := Call[int](ctx, c, "Add", 1, o); err != nil {
			t.Error(err)
		}
	}
	if n := ran.Load(); n != 10 {
		t.Errorf("%d were added, want 10", n)
	}
	if _, err := Call[int](ctx, c, "Add", 1, At("nobody")); !errors.Is(err, NoServer) || !errors.Is(err, NotExecuted) {
		t.Error(err)
	}
}

func TestInterceptorsAreAroundCalls(t *testing.T) {
	var mu sync.Mutex
	var order []string
	note := func(who string) Interceptor {
		return func(ctx context.Context, method string, next func(context.Context) error) error {
			mu.Lock()
			order = append(order, who+" "+method)
			mu.Unlock()
			if method == "Forbidden" {
				return Fail("forbidden", nil, "not by %s", who)
			}
			return next(ctx)
		}
	}
	s, c := serving(t, ServerOptions{Interceptors: []Interceptor{note("server")}}, ClientOptions{Interceptors: []Interceptor{note("outer"), note("inner")}}, func(s *Server) {
		for _, name := range []string{"Echo", "Forbidden"} {
			Handle(s, name, func(_ context.Context, b []byte) ([]byte, error) { return b, nil })
		}
	})
	if got, err := Call[[]byte](soon(t), c, "Echo", []byte("x")); string(got) != "x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	mu.Lock()
	if want := []string{"outer Echo", "inner Echo", "server Echo"}; !slices.Equal(order, want) {
		t.Errorf("%q, want %q", order, want)
	}
	mu.Unlock()
	if got, err := c.CallBytes(soon(t), "Echo", []byte("y"), nil); string(got) != "y" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Call[[]byte](soon(t), c, "Forbidden", []byte("x")); !errors.Is(err, Reason("forbidden")) {
		t.Error(err)
	}
	if _, err := Call[[]byte](soon(t), s.Local(), "Forbidden", []byte("x")); !errors.Is(err, Reason("forbidden")) {
		t.Error(err)
	}
}

func TestS3_10_AtLeastOnceIsForWhatMayRunAgain(t *testing.T) {
	var runs atomic.Int32
	block := make(chan struct{})
	defer close(block)
	_, c := serving(t, ServerOptions{}, ClientOptions{Grace: time.Millisecond}, func(s *Server) {
		Handle(s, "Slow", func(context.Context, int) (int, error) {
			n := runs.Add(1)
			if n < 3 {
				<-block // it does not answer in time
			}
			return int(n), nil
		})
	})
	n, err := Call[int](soon(t), c, "Slow", 0, Idempotent, AtLeastOnce(40*time.Millisecond, 5))
	if err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := Call[int](soon(t), c, "Slow", 0, AtLeastOnce(0, 5)); !errors.Is(err, Invalid) || !errors.Is(err, NotExecuted) {
		t.Errorf("what must not run twice: %v", err)
	}
	if err := c.Update(nil); err != nil {
		t.Fatal(err)
	}
	var e *Error
	_, err = Call[int](soon(t), c, "Slow", 0, Idempotent, AtLeastOnce(time.Second, 2))
	if !errors.As(err, &e) || e.Code != NoServer || e.Execution != NotExecuted {
		t.Errorf("without a server: %v", err)
	}
}

// The lecture's client waits 10 s for an answer before it sends the call again.
func TestS3_36_AnAttemptIsGivenTheLecturesTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var u client.Call
		if AtLeastOnce(0, 7)(&u); u.Tries != 7 {
			t.Errorf("%d attempts", u.Tries)
		}
		began := time.Now()
		ctx, cancel := attempt(t.Context(), &u)
		defer cancel()
		<-ctx.Done()
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("an attempt is given %v", took)
		}
	})
}

// ways are the two in which a call is made again: by who waits, and by who does not.
func ways(t *testing.T, try func(t *testing.T, do func(*Client, string, ...CallOption) error)) {
	t.Helper()
	t.Run("waiting", func(t *testing.T) {
		try(t, func(c *Client, name string, o ...CallOption) error {
			_, err := Call[int](soon(t), c, name, 0, o...)
			return err
		})
	})
	t.Run("spawned", func(t *testing.T) {
		try(t, func(c *Client, name string, o ...CallOption) error {
			_, err := Spawn[int](soon(t), c, name, 0, o...).Get(soon(t))
			return err
		})
	})
}

func TestS3_10_TheLastErrorSaysHowOftenItWasTried(t *testing.T) {
	ways(t, func(t *testing.T, do func(*Client, string, ...CallOption) error) {
		var runs atomic.Int32
		block := make(chan struct{})
		defer close(block)
		_, c := serving(t, ServerOptions{}, ClientOptions{Grace: time.Millisecond}, func(s *Server) {
			Handle(s, "Deaf", func(context.Context, int) (int, error) {
				runs.Add(1)
				<-block
				return 0, nil
			})
		})
		const each, tries = 50 * time.Millisecond, 4
		began := time.Now()
		err := do(c, "Deaf", Idempotent, AtLeastOnce(each, tries))
		var e *Error
		if !errors.As(err, &e) || e.Code != DeadlineExceeded || e.Execution != Indeterminate || e.Attempts != tries {
			t.Errorf("%v, %+v", err, e)
		}
		if n, took := runs.Load(), time.Since(began); n != tries || took < each*tries {
			t.Errorf("it ran %d times in %v", n, took)
		}
	})
}

// The last attempt did not run. One before it has.
func TestS3_10_AnAttemptThatMayHaveRunIsNotForgotten(t *testing.T) {
	ways(t, func(t *testing.T, do func(*Client, string, ...CallOption) error) {
		entered, block := make(chan struct{}, 9), make(chan struct{})
		defer close(block)
		_, c := serving(t, ServerOptions{}, ClientOptions{Grace: time.Millisecond}, func(s *Server) {
			Handle(s, "Deaf", func(context.Context, int) (int, error) {
				entered <- struct{}{}
				<-block
				return 0, nil
			})
		})
		gone := make(chan error, 1)
		go func() {
			<-entered
			gone <- c.Update(nil)
		}()
		err := do(c, "Deaf", Idempotent, AtLeastOnce(200*time.Millisecond, 2))
		if !errors.Is(err, NoServer) || !errors.Is(err, Indeterminate) {
			t.Errorf("it ran, and its caller is told: %v", err)
		}
		if err := <-gone; err != nil {
			t.Error(err)
		}
	})
}

func TestBytesNeedNoMemoryOfTheirOwn(t *testing.T) {
	_, c := serving(t, ServerOptions{}, ClientOptions{}, func(s *Server) {
		Handle(s, "Echo", func(_ context.Context, b []byte) ([]byte, error) { return b, nil })
		Handle(s, "Fail", func(context.Context, []byte) ([]byte, error) { return nil, errors.New("no") })
	})
	room := make([]byte, 0, 64)
	got, err := c.CallBytes(soon(t), "Echo", []byte("abc"), room, Bulk)
	if err != nil || string(got) != "abc" || &got[0] != &room[:1][0] {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := c.CallBytes(soon(t), "Fail", nil, room); !errors.Is(err, Failed) || !strings.Contains(err.Error(), "rpc Fail: Failed (Executed): no") {
		t.Error(err)
	}
	// A caller that knows no types speaks CBOR.
	if _, err := Call[string](soon(t), c, "Echo", "text"); !errors.Is(err, Invalid) {
		t.Errorf("text for bytes: %v", err)
	}
}

func TestAServerThatShutsDownRefusesAndEnds(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s, c := serving(t, ServerOptions{}, ClientOptions{}, func(s *Server) {
		Handle(s, "Wait", func(context.Context, int) (int, error) {
			close(entered)
			<-release
			return 1, nil
		})
		Handle(s, "Pass", func(_ context.Context, n int) (int, error) { return n, nil })
	})
	end := sync.OnceFunc(func() { close(release) })
	t.Cleanup(end) // a server is closed when its handlers have returned
	f := Spawn[int](soon(t), c, "Wait", 0)
	<-entered
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Get(short); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(soon(t)) }()
	for err := error(nil); !errors.Is(err, NotExecuted); { // what comes before the shutdown is served
		if _, err = Call[int](soon(t), c, "Pass", 0); err != nil && !errors.Is(err, NotExecuted) {
			t.Fatal(err)
		}
	}
	end()
	if n, err := f.Get(soon(t)); n != 1 || err != nil {
		t.Errorf("what ran ends with %d, %v", n, err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	if n := s.Core().Counts(); n.Running != 0 {
		t.Errorf("%+v", n)
	}
	if _, ok := s.Workers(); ok {
		t.Error("it has workers")
	}
}

func TestACrashsReportIsInItsError(t *testing.T) {
	r := crash.Report{Cause: crash.Completed, PID: 7}
	e := &Error{Method: "M", Code: Crashed, Reason: "r", Message: "m", Detail: r.Append(nil)}
	if got, ok := e.Crash(); !ok || got.PID != 7 {
		t.Errorf("%+v, %v", got, ok)
	}
	if _, ok := (&Error{Code: Failed}).Crash(); ok {
		t.Error("a failure has a report")
	}
	if want := "rpc M: Crashed (Indeterminate): r: m"; e.Error() != want {
		t.Errorf("%q, want %q", e, want)
	}
	if err := Fail("why", nil, "%w", context.Canceled); !errors.Is(err, Reason("why")) || !errors.Is(err, context.Canceled) || errors.Is(err, Reason("else")) {
		t.Error(err)
	}
	if Lost.Error() != "Lost" || Executed.Error() != "Executed" || Reason("x").Error() != "x" {
		t.Error("words of errors have changed")
	}
}

// TestS2_10_SocketsByPathAndAbstract: one is a file, which others have no access to; the other is none.
func TestS2_10_SocketsByPathAndAbstract(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, address := range []string{"unix:" + path, "unix://" + path + "2", fmt.Sprintf("unix:@rpcpool-test-%d", os.Getpid())} {
		s, err := NewServer(ServerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		Handle(s, "Echo", func(_ context.Context, n int) (int, error) { return n, nil })
		l, err := s.Listen(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		c, err := Dial(ClientOptions{}, address)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := Call[int](soon(t), c, "Echo", 7); n != 7 || err != nil {
			t.Errorf("%s: %d, %v", address, n, err)
		}
		info, err := os.Stat(l.Addr().String())
		switch {
		case strings.Contains(address, "@"):
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is a file: %v", address, err)
			}
		case err != nil || info.Mode().Type() != fs.ModeSocket || info.Mode().Perm()&^0o660 != 0 || info.Mode().Perm()&0o600 != 0o600:
			t.Errorf("%s: %v, %v", address, info.Mode(), err)
		}
		if err := errors.Join(c.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		<-served
	}
}

func TestAddressesAndCredentials(t *testing.T) {
	for _, bad := range []string{"", "unix:", "unix:@", "tcp:nowhere", "host"} {
		if _, err := ParseAddress(bad); err == nil {
			t.Errorf("%q is taken for an address", bad)
		}
		if _, err := Dial(ClientOptions{}, bad); err == nil {
			t.Errorf("%q is dialled", bad)
		}
	}
	if e, err := ParseAddress("tcp://h:1"); err != nil || e.TCP != "h:1" {
		t.Errorf("%+v, %v", e, err)
	}
	so := ServerOptions{Token: func(token []byte) error {
		if string(token) != "secret" {
			return errors.New("wrong token")
		}
		return nil
	}}
	prepare := func(s *Server) {
		Handle(s, "Echo", func(_ context.Context, b []byte) ([]byte, error) { return b, nil })
	}
	_, good := serving(t, so, ClientOptions{Token: func() []byte { return []byte("secret") }}, prepare)
	if _, err := Call[[]byte](soon(t), good, "Echo", []byte("x")); err != nil {
		t.Error(err)
	}
	_, stranger := serving(t, so, ClientOptions{}, prepare)
	if _, err := Call[[]byte](soon(t), stranger, "Echo", []byte("x")); !errors.Is(err, NotExecuted) || !strings.Contains(err.Error(), "wrong token") {
		t.Error(err)
	}
}

// TestWhatAClientMayNotCallDoesNotRun, by whatever kind of call, and says so; what it may does.
func TestWhatAClientMayNotCallDoesNotRun(t *testing.T) {
	var ran atomic.Int32
	var sockets atomic.Int32
	so := ServerOptions{Allow: func(who server.Identity) func(string) bool {
		if who.Socket && len(who.Certificates) == 0 {
			sockets.Add(1)
		}
		return func(method string) bool { return method == "Open" }
	}}
	_, c := serving(t, so, ClientOptions{}, func(s *Server) {
		for _, name := range []string{"Open", "Closed"} {
			Handle(s, name, func(_ context.Context, b []byte) ([]byte, error) {
				ran.Add(1)
				return b, nil
			}, MethodOptions{Idempotent: true})
		}
		HandleStream(s, "Flow", func(context.Context, []byte, *ServerStream[[]byte, []byte]) error {
			ran.Add(1)
			return nil
		})
	})
	ctx := soon(t)
	if got, err := Call[[]byte](ctx, c, "Open", []byte("x")); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	before := ran.Load()
	is := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, Denied) || !errors.Is(err, NotExecuted) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for range 3 { // the answer to one is kept as any other
		_, err := Call[[]byte](ctx, c, "Closed", []byte("x"))
		is("a call", err)
	}
	_, err := Call[[]byte](ctx, c, "Closed", []byte("x"), Idempotent)
	is("an idempotent one", err)
	_, err = Spawn[[]byte](ctx, c, "Closed", []byte("x")).Get(ctx)
	is("one that is waited for later", err)
	flow, err := OpenStream[[]byte, []byte](ctx, c, "Flow", []byte("x"))
	if err == nil {
		_, err = flow.Recv(ctx)
	}
	is("a stream", err)
	if _, err := Call[[]byte](ctx, c, "Nothing", []byte("x")); !errors.Is(err, Unimplemented) && !errors.Is(err, Denied) {
		t.Errorf("what there is not: %v", err)
	}
	if ran.Load() != before {
		t.Errorf("%d ran", ran.Load()-before)
	}
	if sockets.Load() == 0 {
		t.Error("the server does not know a client of its socket")
	}
}

func TestTheTableOutlivesItsServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	for life := range 2 {
		s, c := serving(t, ServerOptions{Journal: path}, ClientOptions{}, func(s *Server) {
			Handle(s, "Echo", func(_ context.Context, b []byte) ([]byte, error) { return b, nil })
		})
		if _, err := Call[[]byte](soon(t), c, "Echo", []byte("x")); err != nil {
			t.Errorf("life %d: %v", life, err)
		}
		if _, err := NewServer(ServerOptions{Journal: path}); err == nil {
			t.Error("two servers have one journal")
		}
		_ = c.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := NewServer(ServerOptions{Queue: -1}); err == nil {
		t.Error("a negative queue")
	}
	if _, err := NewServer(ServerOptions{Conn: conn.Options{MaxFrame: 1}}); err == nil {
		t.Error("frames of a byte")
	}
}

func TestWithinTheProcessOtherTypesAreCopied(t *testing.T) {
	type list struct{ Items []int }
	s, _ := serving(t, ServerOptions{}, ClientOptions{}, func(s *Server) {
		Handle(s, "First", func(_ context.Context, l list) (list, error) {
			l.Items[0] = 9
			return l, nil
		})
	})
	mine := list{[]int{1, 2}}
	got, err := Call[list](soon(t), s.Local(), "First", mine)
	if err != nil || got.Items[0] != 9 || mine.Items[0] != 1 {
		t.Errorf("%v, mine is %v, %v", got, mine, err)
	}
	if _, err := Call[list](soon(t), s.Local(), "First", make(chan int)); !errors.Is(err, Invalid) || !errors.Is(err, NotExecuted) {
		t.Error(err)
	}
	f := Spawn[list](soon(t), s.Local(), "First", mine)
	<-f.Done()
	if got, err := f.Get(t.Context()); err != nil || got.Items[1] != 2 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestAHandlerThatOutlivesItsCallersPatienceTouchesNothingOfIt: arguments and result are
// the caller's again when its call has returned.
func TestAHandlerThatOutlivesItsCallersPatienceTouchesNothingOfIt(t *testing.T) {
	s, err := NewServer(ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	begun, goOn := make(chan struct{}), make(chan struct{})
	saw := 0
	Handle(s, "Late", func(_ context.Context, a []int) ([]int, error) {
		close(begun)
		<-goOn
		saw = a[0]
		return []int{7}, nil
	})
	ctx, cancel := context.WithCancel(soon(t))
	go func() {
		<-begun
		cancel()
	}()
	args, reply := []int{1}, []int{2}
	if err := CallInto(ctx, s.Local(), "Late", args, &reply); !errors.Is(err, Indeterminate) {
		t.Fatal(err)
	}
	args[0] = 3
	close(goOn)
	if err := s.core.Drain(soon(t)); err != nil {
		t.Fatal(err)
	}
	if saw != 1 || len(reply) != 1 || reply[0] != 2 {
		t.Errorf("the handler saw %d, the caller has %v", saw, reply)
	}
}

// TestCallsThatHaveNotEndedAreListed: those that run, that wait for their turn, and that
// wait for a server.
func TestCallsThatHaveNotEndedAreListed(t *testing.T) {
	begun, goOn := make(chan struct{}, 2), make(chan struct{})
	_, c := serving(t, ServerOptions{}, ClientOptions{Open: 1}, func(s *Server) {
		for _, name := range []string{"First", "Second"} {
			Handle(s, name, func(context.Context, int) (int, error) {
				begun <- struct{}{}
				<-goOn
				return 0, nil
			})
		}
	})
	nowhere, err := NewClient(ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer nowhere.Close()
	ctx := soon(t)
	first := Spawn[int](ctx, c, "First", 1)
	<-begun
	second := Spawn[int](ctx, c, "Second", 2)
	third := Spawn[int](ctx, nowhere, "Third", 3, WaitForReady)
	for len(c.Outstanding()) < 2 || len(nowhere.Outstanding()) < 1 {
		time.Sleep(time.Millisecond)
	}
	at := c.Outstanding()
	if at[0].Method != "First" || at[0].XID.Seq == 0 || at[0].Server == "" || at[0].For <= 0 || at[0].Left <= 0 {
		t.Errorf("the one that runs: %+v", at[0])
	}
	if at[1].Method != "Second" || at[1].XID.Seq != 0 || at[1].Server != at[0].Server || at[1].Started {
		t.Errorf("the one that waits for its turn: %+v", at[1])
	}
	if w := nowhere.Outstanding()[0]; w.Method != "Third" || w.Server != "" || w.Attempts != 0 {
		t.Errorf("the one that waits for a server: %+v", w)
	}
	close(goOn)
	for _, f := range []*Future[int]{first, second} {
		if _, err := f.Get(ctx); err != nil {
			t.Error(err)
		}
	}
	if left := c.Outstanding(); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
	_ = nowhere.Close()
	if _, err := third.Get(ctx); err == nil {
		t.Error("a call of a client that is closed has a result")
	}
}
