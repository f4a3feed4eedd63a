package rpc

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"rpcpool.dev/rpc/journal"
)

// Job is arguments of which some are results of other calls.
type Job struct {
	Name   Promise[string]
	Data   Promise[[]byte]
	More   []any
	Rounds int
}

func TestPromisesAreFieldsOfArguments(t *testing.T) {
	both(t, ServerOptions{}, func(s *Server) {
		steps(s)
		Handle(s, "Job", func(ctx context.Context, j Job) (int, error) {
			name, err := j.Name.Get(ctx)
			if err != nil {
				return 0, err
			}
			data, err := j.Data.Get(ctx)
			return len(name)*1_000_000 + len(data)*1000 + len(j.More)*10 + j.Rounds, err
		})
		Handle(s, "Plain", func(_ context.Context, j struct{ Name string }) (string, error) { return j.Name, nil })
	}, func(t *testing.T, c Caller) {
		ctx := soon(t)
		name := Spawn[string](ctx, c, "Upload", "x")
		data := Spawn[[]byte](ctx, c, "Bytes", 300)
		job := Job{Name: name.Result(), Data: data.Result(), More: []any{1, name.Result()}, Rounds: 7}
		if got, err := Call[int](ctx, c, "Job", job); err != nil || got != 8_300_027 {
			t.Errorf("%d, %v", got, err)
		}
		job.Name, job.Data = Given("four"), Given([]byte("12"))
		if got, err := Call[int](ctx, c, "Job", job); err != nil || got != 4_002_027 {
			t.Errorf("of values: %d, %v", got, err)
		}
		again := Spawn[string](ctx, c, "Upload", "y")
		if got, err := Call[string](ctx, c, "Plain", map[string]any{"Name": again.Result()}); err != nil || got != "y Upload" {
			t.Errorf("to a handler that knows no promises: %q, %v", got, err)
		}
		bad := Spawn[string](ctx, c, "Upload", "x!Upload")
		job.Name = bad.Result()
		if _, err := Call[int](ctx, c, "Job", job); !errors.Is(err, Unmet) || !errors.Is(err, Reason("broken")) {
			t.Errorf("of one that is broken: %v", err)
		}
	})
}

func TestAChainThroughAWorkerThatDies(t *testing.T) {
	_, where := serve(t, ServerOptions{Isolate: &Isolate{Command: []string{os.Args[0]}, Output: discard{}}})
	c := dial(t, ClientOptions{}, "unix:"+where)
	ctx := soon(t)
	if got, err := row(ctx, c, "x")[3].Get(ctx); err != nil || got != "x Upload Load Run Fetch" {
		t.Errorf("%q, %v", got, err)
	}
	f := Spawn[string](ctx, c, "Run", "x?Run")
	g := Spawn[string](ctx, c, "Fetch", f.Result())
	h := Spawn[string](ctx, c, "Fetch", g.Result())
	_, err := h.Get(ctx)
	if !errors.Is(err, Unmet) || !errors.Is(err, NotExecuted) || !errors.Is(err, Crashed) {
		t.Errorf("behind a call that has killed its worker: %v", err)
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// The server dies with a chain half done: what has its result is not run again, what had not
// started runs, with that result.
func TestAChainSurvivesARestartOfItsServer(t *testing.T) {
	file, where := t.TempDir()+"/journal", t.TempDir()+"/s"
	runs := map[string]int{}
	begin := func(hang bool, reached chan struct{}) (stop func()) {
		s, err := NewServer(ServerOptions{Journal: file, JournalPolicy: journal.Process})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Upload", "Load", "Run", "Fetch"} {
			Handle(s, name, func(ctx context.Context, a string) (string, error) {
				if name == "Load" && hang {
					close(reached)
					<-ctx.Done()
					return "", ctx.Err()
				}
				runs[name]++
				return a + " " + name, nil
			}, MethodOptions{Concurrency: 1})
		}
		l, err := s.Listen(t.Context(), "unix:"+where)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		return func() {
			_ = s.Close()
			<-served
		}
	}
	reached := make(chan struct{})
	stop := begin(true, reached)
	c := dial(t, ClientOptions{}, "unix:"+where)
	ctx := soon(t)
	f := Spawn[string](ctx, c, "Upload", "x")
	g := Spawn[string](ctx, c, "Load", f.Result())
	h := Spawn[string](ctx, c, "Run", g.Result())
	k := Spawn[string](ctx, c, "Fetch", f.Result(), Lane(1))
	<-reached
	stop()
	stop = begin(false, nil)
	defer stop()
	if got, err := k.Get(ctx); err != nil || got != "x Upload Fetch" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := h.Get(ctx); !errors.Is(err, Unmet) || !errors.Is(err, NotExecuted) {
		t.Errorf("behind the one that was interrupted: %v", err)
	}
	if runs["Upload"] != 1 || runs["Fetch"] != 1 || runs["Run"] != 0 {
		t.Errorf("they ran %v", runs)
	}
}

// slowly is encoded when a promise beside it has been broken.
type slowly struct {
	begun chan struct{}
	ended <-chan struct{}
}

func (s slowly) MarshalCBOR() ([]byte, error) {
	close(s.begun)
	<-s.ended
	return []byte{0xf6}, nil
}

func (*slowly) UnmarshalCBOR([]byte) error { return nil }

func TestAPromiseIsBrokenWhileArgumentsAreEncoded(t *testing.T) {
	s, where := serve(t, ServerOptions{})
	begun := make(chan struct{})
	Handle(s, "Break", func(context.Context, int) (string, error) {
		<-begun
		return "", errors.New("broken on purpose")
	})
	Handle(s, "Two", func(context.Context, []any) (int, error) { return 1, nil })
	c := dial(t, ClientOptions{}, "unix:"+where)
	bad := Spawn[string](soon(t), c, "Break", 1)
	_, err := Call[int](soon(t), c, "Two", []any{slowly{begun, bad.Done()}, bad.Result()})
	var e *Error
	if !errors.As(err, &e) || e.Code != Unmet || e.Execution != NotExecuted || !strings.Contains(err.Error(), "broken on purpose") {
		t.Errorf("%v", err)
	}
}
