package conn

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"rpcpool.dev/rpc/frame"
)

// task is what a reader does last, or somebody else.
type task struct {
	run    func(passed bool)
	passed *atomic.Int32
}

func (t *task) Run() { t.run(false) }

func (t *task) Pass() {
	t.passed.Add(1)
	go t.run(true)
}

// lastly answers all calls last of all. Those that say "wait" wait for the next that says
// "go on"; those that say "exit" answer and end their goroutine.
type lastly struct {
	goOn   chan struct{}
	waits  chan struct{} // has an element when one waits
	cost   time.Duration
	alone  bool // readers run them if nobody else calls
	queue  bool // answers of readers are written at their leisure
	passed atomic.Int32
	ran    atomic.Int32 // by readers
}

func (l *lastly) Message(p Peer, in *In) {
	if in.Type != frame.TypeCall {
		return
	}
	kept := in.Keep()
	what := string(kept.Body)
	t := &task{passed: &l.passed, run: func(passed bool) {
		switch what {
		case "wait":
			l.waits <- struct{}{}
			<-l.goOn
		case "go on":
			l.goOn <- struct{}{}
		}
		if passed || !l.queue {
			_ = p.Send(context.Background(), answerTo(kept, kept))
		} else {
			_ = p.Queue(answerTo(kept, kept))
		}
		if what == "exit" {
			runtime.Goexit()
		}
	}}
	if c, ok := p.(*Conn); ok && (!l.alone && c.Last(t, l.cost) || l.alone && c.LastAlone(t)) {
		l.ran.Add(1)
		return
	}
	go t.run(true)
}

func (*lastly) Closed(Peer, error, []uint64) {}

// TestAReaderThatIsAwayIsRelieved has calls that end only when another has come, which the
// same reader would have to read; and calls that end their goroutine.
func TestAReaderThatIsAwayIsRelieved(t *testing.T) {
	a, b := sockets(t, "unix")
	l := &lastly{goOn: make(chan struct{}), waits: make(chan struct{}, 1)}
	client := newCaller()
	c, _ := join(t, a, b, client, l, Options{})
	call := func(what string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if got, err := client.call(ctx, c, frame.PriorityNormal, []byte(what)); err != nil || string(got) != what {
			t.Errorf("%q: %q, %v", what, got, err)
		}
	}
	for range 50 {
		waited := make(chan struct{})
		go func() {
			defer close(waited)
			call("wait")
		}()
		<-l.waits // or both would come at once
		call("quick")
		call("go on")
		<-waited
		call("exit")
		call("quick")
	}
	if n := l.ran.Load(); n < 100 {
		t.Errorf("readers ran %d of 250 calls", n)
	}
}

// TestAnEndDoesNotWaitForAReaderThatIsAway ends a connection whose reader runs something.
func TestAnEndDoesNotWaitForAReaderThatIsAway(t *testing.T) {
	l := &lastly{goOn: make(chan struct{}), waits: make(chan struct{}, 1)}
	s, c := shakeHands(t, l, Options{})
	s.send(frame.Header{Type: frame.TypeCall, Priority: 2, Seq: 1}, frame.Ext{}, []byte("wait"))
	<-l.waits
	_ = s.nc.Close()
	select {
	case <-c.Done():
	case <-time.After(patience):
		t.Error("the connection does not end")
	}
	l.goOn <- struct{}{}
}

// together sends calls in one write, and returns the bodies of as many answers, in their order.
func together(t *testing.T, s stranger, bodies ...string) (answers []string) {
	t.Helper()
	var all []byte
	for i, body := range bodies {
		all = frame.Append(all, &frame.Header{Type: frame.TypeCall, Priority: 2, Seq: uint64(i + 1)}, nil, []byte(body))
	}
	if _, err := s.nc.Write(all); err != nil {
		t.Fatal(err)
	}
	for range bodies {
		f, err := s.next()
		if err != nil || f.Type != frame.TypeReply {
			t.Fatalf("%+v, %v", f, err)
		}
		answers = append(answers, string(f.body))
	}
	return answers
}

func TestOfSeveralMessagesTheReaderRunsThoseThatAreCheap(t *testing.T) {
	for name, c := range map[string]struct {
		cost time.Duration
		ran  int32
	}{
		"all, if they are":             {lastTime / 3, 3},
		"as many as there is time for": {lastTime / 2, 2},
		"at least one":                 {lastTime, 1},
		"also if that takes its time":  {2 * lastTime, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lastly{cost: c.cost}
			s, _ := shakeHands(t, l, Options{})
			together(t, s, "a", "b", "c")
			if l.ran.Load() != c.ran || l.passed.Load() != 0 {
				t.Errorf("the reader ran %d of 3, and %d were passed on; want %d and none", l.ran.Load(), l.passed.Load(), c.ran)
			}
		})
	}
}

// TestOnlyWhoServesNobodyElseWaits: of a caller that is alone the reader runs what waits; not of
// those that come together, nor of one that comes soon after them.
func TestOnlyWhoServesNobodyElseWaits(t *testing.T) {
	l := &lastly{alone: true}
	s, c := shakeHands(t, l, Options{})
	for _, step := range []struct {
		bodies []string
		ran    int32 // by the reader, so far
	}{
		{[]string{"a"}, 1},
		{[]string{"b"}, 2},
		{[]string{"c", "d"}, 3}, // when the first of them came, it was the only one
		{[]string{"e"}, 3},
		{[]string{"f", "g"}, 3},
	} {
		together(t, s, step.bodies...)
		if got := l.ran.Load(); got != step.ran {
			t.Errorf("with %q the reader has run %d, want %d", step.bodies, got, step.ran)
		}
	}
	for range crowdFor {
		together(t, s, "one by one")
	}
	if together(t, s, "h"); l.ran.Load() == 3 {
		t.Errorf("the reader does not wait any more when the others have gone: %+v", c.rd.crowd)
	}
}

// TestTheFirstAreAnsweredBeforeTheOthersAreLookedAt sends a bite and one more in one write. What
// the bite asks for runs before the last one is looked at.
func TestTheFirstAreAnsweredBeforeTheOthersAreLookedAt(t *testing.T) {
	var ranWhen []int // how many messages had been looked at, by run
	var looked int
	done := make(chan struct{})
	h := handlerFunc(func(p Peer, in *In) {
		if in.Type != frame.TypeCall {
			return
		}
		looked++
		c, _ := p.(*Conn)
		if !c.Last(&task{run: func(bool) {
			if ranWhen = append(ranWhen, looked); len(ranWhen) == bite+1 {
				close(done)
			}
		}}, 0) {
			t.Error("the reader does not run it")
		}
	})
	s, _ := shakeHands(t, h, Options{})
	var all []byte
	for seq := range uint64(bite + 1) {
		all = frame.Append(all, &frame.Header{Type: frame.TypeCall, Priority: 2, Seq: seq + 1}, nil, []byte("x"))
	}
	if _, err := s.nc.Write(all); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the last one does not run")
	}
	if ranWhen[0] != bite || ranWhen[bite] != bite+1 {
		t.Errorf("ran when so many had been looked at: %v; want the first %d before the last is", ranWhen, bite)
	}
}

// TestWhatIsBehindALongRunIsPassedOn has a call that waits for another one, which the same
// reader was to run behind it; and what ran before it has been answered meanwhile.
func TestWhatIsBehindALongRunIsPassedOn(t *testing.T) {
	for name, first := range map[string]string{"that waits": "wait", "that ends its goroutine": "exit"} {
		t.Run(name, func(t *testing.T) {
			l := &lastly{goOn: make(chan struct{}), waits: make(chan struct{}, 1), queue: true}
			s, _ := shakeHands(t, l, Options{})
			second := "go on"
			if first == "exit" {
				second = "quick"
			}
			answers := together(t, s, "before", first, second, "behind")
			if answers[0] != "before" || l.ran.Load() != 4 || l.passed.Load() != 2 {
				t.Errorf("answers %q; the reader was to run %d, and %d of them were passed on", answers, l.ran.Load(), l.passed.Load())
			}
		})
	}
}
