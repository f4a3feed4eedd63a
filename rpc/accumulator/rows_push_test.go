package accumulator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The forerunner's first example, on ten nodes at once.
func TestS1_41_EachNodePushesAndTheSumIsExact(t *testing.T) {
	const ranks = 10
	s := newServer(t, ServerOptions{})
	var nodes sync.WaitGroup
	for r := range int64(ranks) {
		nodes.Go(func() {
			c := NewClient(s, Options{Writes: 100})
			defer closeClient(t, c)
			for i := range int64(1000) {
				c.Sum("instances").Add((i + 1) * (r + 1))
			}
		})
	}
	nodes.Wait()
	wantSum(t, s, "instances", 1000*1001/2*ranks*(ranks+1)/2)
}

// Many goroutines write through the same shards while flushes take from them.
func TestS1_41_ManyWritersOfOneNodeLoseNothing(t *testing.T) {
	const writers, writes = 16, 4_000
	s := newServer(t, ServerOptions{})
	c := NewClient(s, Options{Writes: 64, Shards: 4})
	sum, timer, most := c.Sum("sum"), c.Timer("timer"), c.Max("max")
	var all sync.WaitGroup
	for r := range writers {
		all.Go(func() {
			for i := range writes {
				sum.Add(int64(i))
				timer.Observe(time.Duration(i))
				most.Add(float64(-i - r))
			}
		})
	}
	all.Wait()
	closeClient(t, c)
	wantSum(t, s, "sum", writers*writes*(writes-1)/2)
	if got := state[*Timer](t, s, "timer"); got.Count() != writers*writes || got.Sum().Int64() != writers*writes*(writes-1)/2 {
		t.Errorf("timer has %d of %s", got.Count(), got.Sum())
	}
	if got, ok := state[*Max](t, s, "max").Value(); !ok || got != 0 {
		t.Errorf("max is %g", got)
	}
}

func TestS1_42_EveryTypeGoesFromClientToServer(t *testing.T) {
	s := newServer(t, ServerOptions{Types: Types{"app.words": New[words]}})
	for _, sign := range []float64{-1, 1} {
		c := NewClient(s, Options{})
		c.Sum("sum").Add(int64(sign))
		c.FloatSum("floatsum").Add(sign * 1.5)
		c.Avg("avg").Add(sign + 3)
		c.Max("max").Add(sign - 5)
		c.Min("min").Add(sign - 5)
		c.Timer("timer").Observe(time.Duration(sign) * time.Second)
		Of[words](c, "app.words", "words").Update(func(w *words) { w.put(fmt.Sprint(sign)) })
		closeClient(t, c)
	}
	wantSum(t, s, "sum", 0)
	if v := state[*FloatSum](t, s, "floatsum").Value(); v != 0 {
		t.Errorf("floatsum %g", v)
	}
	if v, _ := state[*Avg](t, s, "avg").Mean(); v != 3 {
		t.Errorf("avg %g", v)
	}
	most, _ := state[*Max](t, s, "max").Value()
	least, _ := state[*Min](t, s, "min").Value()
	if most != -4 || least != -6 {
		t.Errorf("max %g, min %g", most, least)
	}
	if got, want := state[*Timer](t, s, "timer").Stats(time.Second), (Stats{Count: 2, Variance: 1, Min: -1, Max: 1}); got != want {
		t.Errorf("timer %+v, want %+v", got, want)
	}
	if got := state[*words](t, s, "words").all; len(got) != 2 || !got["-1"] || !got["1"] {
		t.Errorf("custom: %v", got)
	}
}

func TestS1_42_CustomTypesDoNotTakeTheNamesOfOthers(t *testing.T) {
	for name, types := range map[string]Types{
		"built in":       {TypeSum: New[words]},
		"no name":        {"": New[words]},
		"no aggregator":  {"app.words": nil},
		"a name so long": {strings.Repeat("x", MaxType+1): New[words]},
	} {
		if _, err := NewServer(ServerOptions{Types: types}); err == nil {
			t.Errorf("%s: registered", name)
		}
	}
}

func TestS1_43_SameNameAndLabelsOnAllNodesIsOneAccumulator(t *testing.T) {
	s := newServer(t, ServerOptions{})
	zone, kind := Label{"zone", "a"}, Label{"kind", "gpu"}
	for i := range 3 {
		c := NewClient(s, Options{})
		one, other := c.Sum("jobs", zone, kind), c.Sum("jobs", kind, zone)
		if one != other {
			t.Error("the order of labels makes two of one")
		}
		one.Add(1)
		c.Sum("jobs").Add(10)
		c.Sum("jobs", Label{"zone", fmt.Sprint(i)}).Add(100)
		closeClient(t, c)
	}
	wantSum(t, s, "jobs", 3, kind, zone)
	wantSum(t, s, "jobs", 30)
	wantSum(t, s, "jobs", 100, Label{"zone", "2"})
	if n := s.Counts().Series; n != 5 {
		t.Errorf("%d accumulators, want 5", n)
	}
}

// The forerunner ended the server's process.
func TestS1_43_AnotherTypeIsAnErrorThatNamesBoth(t *testing.T) {
	s := newServer(t, ServerOptions{})
	a, b := NewClient(s, Options{}), NewClient(s, Options{})
	defer closeClient(t, a)
	defer closeClient(t, b)
	a.Sum("x").Add(1)
	flush(t, a)
	b.Max("x", Label{"zone", "a"}).Add(5)
	b.Sum("y").Add(2)
	err := b.Flush(t.Context())
	if !errors.Is(err, ErrRejected) || !errors.Is(err, ErrType) || !strings.Contains(err.Error(), `it is of type "sum", "max" was pushed`) {
		t.Errorf("flush: %v", err)
	}
	flush(t, b) // it is told once
	a.Sum("x").Add(1)
	flush(t, a)
	wantSum(t, s, "x", 2)
	wantSum(t, s, "y", 2)
	if c := s.Counts(); c.Rejected != 1 || c.Merged != 3 {
		t.Errorf("%+v", c)
	}
}

func TestS1_43_AnotherTypeAtTheSameClientToo(t *testing.T) {
	s := newServer(t, ServerOptions{Types: Types{"app.words": New[words], "app.text": New[words]}})
	var told []error
	c := NewClient(s, Options{OnError: func(err error) { told = append(told, err) }})
	defer closeClient(t, c)
	c.Sum("x").Add(1)
	if w := c.Avg("x"); w != nil {
		t.Error("there is a handle")
	}
	c.Avg("x").Add(1)
	Of[words](c, "app.words", "y").Update(func(w *words) { w.put("a") })
	Of[words](c, "app.text", "y").Update(func(*words) { t.Error("called") })
	err := c.Flush(t.Context())
	if !errors.Is(err, ErrType) || len(told) != 3 || !strings.Contains(told[0].Error(), `it is of type "sum", "avg" was asked for`) {
		t.Errorf("flush: %v; told %v", err, told)
	}
	wantSum(t, s, "x", 1)
}

func TestHandlesThatCannotBeTakeAnything(t *testing.T) {
	s := newServer(t, ServerOptions{})
	c := NewClient(s, Options{MaxSeries: 1})
	defer closeClient(t, c)
	c.Sum("x").Add(1)
	many := slices.Repeat([]Label{{"a", ""}}, MaxLabels+1)
	for name, write := range map[string]func(){
		"one more":                     func() { c.FloatSum("y").Add(1) },
		"no name":                      func() { c.Max("").Add(1) },
		"a name like what is behind":   func() { c.Sum("\x00x\x00").Add(1) },
		"a name with a line's end":     func() { c.Min("x\n").Add(1) },
		"a name that is too long":      func() { c.Avg(strings.Repeat("x", MaxName+1)).Add(1) },
		"a type that is too long":      func() { Of[words](c, strings.Repeat("x", MaxType+1), "w").Update(func(*words) {}) },
		"a label twice":                func() { c.Sum("x", Label{"a", "1"}, Label{"a", "2"}).Add(1) },
		"a label without a name":       func() { c.Sum("x", Label{"", "1"}).Add(1) },
		"a label that has no name":     func() { c.Sum("x", Label{"1a", "1"}).Add(1) },
		"a reserved label":             func() { c.Sum("x", Label{"le", "1"}).Add(1) },
		"a label's value that is long": func() { c.Sum("x", Label{"a", strings.Repeat("x", MaxValue+1)}).Add(1) },
		"too many labels":              func() { c.Sum("x", many...).Add(1) },
		"a timer, observed":            func() { c.Timer("").Observe(1) },
		"a timer, of a scope":          func() { c.Timer("").Start().Stop() },
	} {
		write()
		if err := c.Flush(t.Context()); !errors.Is(err, ErrLimit) && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantSum(t, s, "x", 1)
}

func TestS1_44_FlushEveryNWrites(t *testing.T) {
	for _, n := range []int{1, 7, 1000, 1024} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, ServerOptions{})
			p := &pushing{Pusher: s}
			c := NewClient(p, Options{Writes: n, Shards: 1})
			defer closeClient(t, c)
			w := c.Sum("x")
			for i := 1; i <= 5*n; i++ {
				w.Add(1)
				if i%n != 0 && i%n != n-1 {
					continue
				}
				synctest.Wait()
				if got := p.count(); got != i/n {
					t.Fatalf("every %d writes: %d pushes after %d", n, got, i)
				}
			}
			wantSum(t, s, "x", int64(5*n))
		})
	}
}

func TestS1_44_DefaultIs1024WritesAndShardsDoNotPutItOffFarther(t *testing.T) {
	o := Options{}.withDefaults()
	if o.Writes != 1024 || o.Interval != time.Second {
		t.Errorf("%+v", o)
	}
	for _, shards := range []int{1, 2, 8, 64} {
		for _, n := range []int{1, 7, 64, 1000, 1024, 1 << 20} {
			c := int(chunk(n, shards))
			if c < 1 || n%c != 0 || c > 1 && c*shards > n/2 {
				t.Errorf("%d writes, %d shards: each tells of %d", n, shards, c)
			}
		}
	}
}

func TestS1_44_FlushAfterASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, ServerOptions{})
		p := &pushing{Pusher: s}
		c := NewClient(p, Options{})
		defer closeClient(t, c)
		c.Sum("x").Add(1)
		time.Sleep(time.Second - 1)
		if p.count() != 0 {
			t.Error("pushed before")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		wantSum(t, s, "x", 1)
		time.Sleep(time.Minute)
		if p.count() != 1 {
			t.Errorf("%d pushes, the others of nothing", p.count())
		}
	})
}

func TestS1_44_FlushReturnsWhenTheServerHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, ServerOptions{})
		c := NewClient(slow(s, time.Second), Options{Interval: time.Hour})
		defer closeClient(t, c)
		w := c.Sum("x")
		w.Add(1)
		go c.Flush(t.Context())
		synctest.Wait() // that one is on its way, and has not what comes now
		w.Add(1)
		start := time.Now()
		flush(t, c)
		wantSum(t, s, "x", 2)
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestS1_44_FlushEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newBlocked()
		c := NewClient(p, Options{})
		c.Sum("x").Add(1)
		for range 2 { // the second waits for its turn
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := c.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
		}
		if len(c.waiters) != 0 {
			t.Errorf("%d are still waited for", len(c.waiters))
		}
		close(p.release)
		closeClient(t, c)
	})
}

func TestS1_44_WaitEmptyWaitsForWhatGoesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, ServerOptions{})
		c := NewClient(slow(s, time.Millisecond), Options{})
		defer closeClient(t, c)
		start := time.Now()
		wait := func(want time.Duration) {
			t.Helper()
			if err := c.WaitEmpty(t.Context()); err != nil || time.Since(start) != want {
				t.Errorf("%v after %v, want %v", err, time.Since(start), want)
			}
		}
		wait(0)
		c.Sum("x").Add(1)
		wait(time.Second + time.Millisecond)
		wantSum(t, s, "x", 1)
		go c.Flush(t.Context())
		c.Sum("x").Add(1)
		synctest.Wait() // it is taken, and not there yet
		wait(time.Second + 2*time.Millisecond)
		wantSum(t, s, "x", 2)
	})
}

func TestS1_44_CloseIsTheLastFlush(t *testing.T) {
	s := newServer(t, ServerOptions{})
	c := NewClient(s, Options{Interval: time.Hour})
	c.Sum("x").Add(41)
	closeClient(t, c)
	closeClient(t, c)
	wantSum(t, s, "x", 41)
	c.Sum("x").Add(1)
	if err := errors.Join(c.Flush(t.Context()), c.WaitEmpty(t.Context())); !errors.Is(err, ErrClosed) {
		t.Errorf("flush: %v", err)
	}
}

func TestS1_44_CloseTellsWhatItCouldNotPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		c := NewClient(pushFunc(func(ctx context.Context, _ []byte) error {
			<-ctx.Done()
			return errLost
		}), Options{OnError: func(err error) { told = append(told, err) }})
		c.Sum("x").Add(1)
		go c.Flush(t.Context())
		synctest.Wait()
		c.Sum("x").Add(1) // it waits for what is on its way, and so does who flushes it
		waiting := make(chan error)
		go func() { waiting <- c.Flush(context.Background()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close: %v", err)
		}
		if err := <-waiting; !errors.Is(err, ErrClosed) || !errors.Is(err, errLost) {
			t.Errorf("who waited is told %v", err)
		}
		if len(told) != 2 || !errors.Is(told[0], ErrClosed) || !errors.Is(told[1], ErrClosed) {
			t.Errorf("told %v", told)
		}
	})
}

// Time is the bubble's: it goes on only when everybody waits. So a write that waited
// for the server for any time at all would be seen.
func TestS1_45_WritesDoNotWaitWhileTheServerIsBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, ServerOptions{})
		p := &pushing{Pusher: slow(s, time.Second)}
		c := NewClient(p, Options{})
		w := c.Sum("x")
		start := time.Now()
		for range 100 * 1024 {
			w.Add(1)
			if time.Since(start) != 0 {
				t.Fatal("a write has waited")
			}
		}
		synctest.Wait()
		if p.count() != 1 {
			t.Errorf("%d pushes at a time", p.count())
		}
		closeClient(t, c)
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("it took %v: what was written meanwhile did not go at once", took)
		}
		wantSum(t, s, "x", 100*1024)
	})
}

func TestS1_47_ScopeTimersAreOffAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, ServerOptions{})
		c := NewClient(s, Options{})
		timer := c.Timer("step")
		step := func(d time.Duration) {
			defer timer.Start().Stop()
			time.Sleep(d)
		}
		step(time.Hour)
		c.SetScopeTimers(true)
		step(time.Minute)
		step(3 * time.Minute)
		c.SetScopeTimers(false)
		step(time.Hour)
		closeClient(t, c)
		got := state[*Timer](t, s, "step")
		for unit, want := range map[time.Duration]float64{
			time.Microsecond: 120e6, time.Millisecond: 120e3, time.Second: 120, time.Minute: 2, time.Hour: 1. / 30,
		} {
			if stats := got.Stats(unit); stats.Count != 2 || stats.Mean != want {
				t.Errorf("in %v: %+v, want a mean of %g", unit, stats, want)
			}
		}
	})
}

func TestS1_47_ScopeTimersThatAreOffAllocateNothing(t *testing.T) {
	c := NewClient(newServer(t, ServerOptions{}), Options{})
	defer closeClient(t, c)
	timer := c.Timer("step")
	if n := testing.AllocsPerRun(1000, func() { scoped(timer) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
	if timer.dirty() {
		t.Error("something was measured")
	}
}
