package accumulator

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// fate is what becomes of a push.
type fate int

const (
	arrives     fate = iota
	notRun           // the caller is told that it did not run
	lostBefore       // it did not run, and nothing is known
	lostAfter        // it ran, and nothing is known
	hangs            // it does not return before its context ends, and runs then
	comesAgain       // it runs, and once more after the next one
	sentByOther      // it runs twice at once
	fates
)

// unreliable is a way to a server on which such things happen, in that order.
type unreliable struct {
	server *Server
	plan   []fate
	late   [][]byte
}

func (u *unreliable) Push(ctx context.Context, batch []byte) error {
	late := u.late
	u.late = nil
	for _, b := range late {
		defer u.server.Push(context.Background(), b)
	}
	f := arrives
	if len(u.plan) > 0 {
		f, u.plan = u.plan[0], u.plan[1:]
	}
	switch f {
	case notRun:
		return fmt.Errorf("call: %w", notMerged("no server"))
	case lostBefore:
		return errLost
	case lostAfter:
		u.server.Push(ctx, batch)
		return errLost
	case hangs:
		<-ctx.Done()
		u.late = append(u.late, slices.Clone(batch))
		return ctx.Err()
	case comesAgain:
		u.late = append(u.late, slices.Clone(batch))
	case sentByOther:
		go u.server.Push(context.Background(), batch)
	}
	return u.server.Push(ctx, batch)
}

func TestS1_46_WhateverBecomesOfPushesAllIsMergedOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		plan := rapid.SliceOf(rapid.Custom(func(t *rapid.T) fate {
			return fate(rapid.IntRange(0, int(fates)-1).Draw(t, "fate"))
		})).Draw(rt, "plan")
		values := rapid.SliceOfN(rapid.Int64Range(-1000, 1000), 1, 100).Draw(rt, "values")
		writes := rapid.IntRange(1, 5).Draw(rt, "writes")
		var got, want int64
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, ServerOptions{})
			u := &unreliable{server: s, plan: plan}
			c := NewClient(u, Options{Writes: writes})
			for _, v := range values {
				c.Sum("x").Add(v)
				want += v
				synctest.Wait()
			}
			closeClient(t, c)
			u.plan = nil
			u.Push(context.Background(), batchOf(ID{9}, 1)) // and what is still late
			got, _ = state[*Sum](t, s, "x").Int64()
		})
		if got != want {
			rt.Fatalf("%d, want %d", got, want)
		}
	})
}

func TestS1_46_ReadResetErase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, ServerOptions{})
		c := NewClient(s, Options{})
		defer closeClient(t, c)
		label := Label{"zone", "a"}
		began := time.Now()
		write := func() {
			c.Sum("x").Add(1)
			c.Sum("x", label).Add(1)
			c.Avg("y").Add(1)
			flush(t, c)
		}
		write()
		time.Sleep(time.Minute)
		if err := s.Reset("x"); err != nil {
			t.Error(err)
		}
		wantSum(t, s, "x", 0)
		wantSum(t, s, "x", 1, label)
		if v, _ := s.Read("x"); !v.Start.Equal(began.Add(time.Minute)) {
			t.Errorf("it begins at %v", v.Start)
		}
		if v, _ := s.Read("x", label); !v.Start.Equal(began) || !s.Start().Equal(began) {
			t.Errorf("%v or the server's %v is not %v", v.Start, s.Start(), began)
		}
		write()
		wantSum(t, s, "x", 1)
		if err := s.Erase("x"); err != nil || s.Counts().Series != 2 {
			t.Errorf("%v; %d are left", err, s.Counts().Series)
		}
		wantSum(t, s, "x", 2, label)
		s.EraseAll()
		if list, err := s.List(); len(list) != 0 || err != nil || s.Counts().Series != 0 {
			t.Errorf("%v, %v", list, err)
		}
		write()
		wantSum(t, s, "x", 1)
	})
}

// The forerunner ended the server's process.
func TestS1_46_WhatIsMissingIsNotFound(t *testing.T) {
	s := newServer(t, ServerOptions{})
	s.Push(t.Context(), batchOf(ID{1}, 1, entryOf("x", TypeSum, &Sum{}, Label{"zone", "a"})))
	for _, labels := range [][]Label{nil, {{"zone", "b"}}, {{"zone", "a"}, {"kind", ""}}} {
		_, err := s.Read("x", labels...)
		for what, err := range map[string]error{"read": err, "reset": s.Reset("x", labels...), "erase": s.Erase("x", labels...)} {
			if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `"x"`) {
				t.Errorf("%s %v: %v", what, labels, err)
			}
		}
	}
	if _, err := s.Read("x", Label{"le", ""}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a label that cannot be: %v", err)
	}
}

func TestS1_46_EraseMakesRoomForAnotherType(t *testing.T) {
	s := newServer(t, ServerOptions{})
	push := func(n uint64, entry []byte) error { return s.Push(t.Context(), batchOf(ID{1}, n, entry)) }
	sum, avg := entryOf("x", TypeSum, &Sum{}), entryOf("x", TypeAvg, &Avg{})
	if err := errors.Join(push(1, sum), s.Erase("x"), push(2, avg)); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.Reset("x"), push(3, sum)); !errors.Is(err, ErrType) {
		t.Errorf("after a reset it may have another type: %v", err)
	}
}

func TestS1_46_ListIsInOrderAndACopy(t *testing.T) {
	s := newServer(t, ServerOptions{})
	one := &Sum{wideOf(1)}
	s.Push(t.Context(), batchOf(ID{1}, 1,
		entryOf("b", TypeSum, one), entryOf("a", TypeSum, one, Label{"z", "2"}),
		entryOf("a", TypeSum, one, Label{"z", "10"}), entryOf("a", TypeSum, one, Label{"k", "9"}, Label{"z", "1"})))
	list, err := s.List()
	var got []string
	for _, v := range list {
		got = append(got, fmt.Sprint(v.Name, v.Labels, v.Type, v.State))
		v.State.(*Sum).Add(1)
	}
	want := []string{"a[{k 9} {z 1}]sum1", "a[{z 10}]sum1", "a[{z 2}]sum1", "b[]sum1"}
	if !slices.Equal(got, want) || err != nil {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	wantSum(t, s, "b", 1)
}

func TestS1_46_WhatComesAgainIsAnsweredAsBefore(t *testing.T) {
	s := newServer(t, ServerOptions{})
	good := batchOf(ID{1}, 1, entryOf("x", TypeSum, &Sum{wideOf(1)}))
	bad := batchOf(ID{1}, 2, entryOf("x", TypeSum, &Sum{wideOf(1)}), entryOf("x", TypeAvg, &Avg{}))
	if err := s.Push(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	first := s.Push(t.Context(), bad).Error()
	for range 2 { // the second time it is another life of the server
		if err := s.Push(t.Context(), bad); !errors.Is(err, ErrRejected) || err.Error() != first {
			t.Errorf("%v, and before %v", err, first)
		}
		if err := s.Push(t.Context(), good); err != nil {
			t.Error(err)
		}
		restored := newServer(t, ServerOptions{})
		if err := restored.Restore(snapshot(t, s)); err != nil {
			t.Fatal(err)
		}
		s = restored
		wantSum(t, s, "x", 2)
	}
}

func TestS1_46_AClientThatWasForgottenIsNotMergedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, ServerOptions{})
		up := time.Now().Add(time.Hour)
		c := NewClient(pushFunc(func(ctx context.Context, batch []byte) error {
			if time.Now().Before(up) {
				if s.Counts().Merged == 0 {
					s.Push(ctx, batch)
				}
				return errLost
			}
			return s.Push(ctx, batch)
		}), Options{})
		defer closeClient(t, c)
		c.Sum("x").Add(1)
		if err := c.Flush(t.Context()); !errors.Is(err, ErrExpired) {
			t.Errorf("flush: %v", err)
		}
		wantSum(t, s, "x", 1)
		c.Sum("x").Add(1)
		flush(t, c)
		wantSum(t, s, "x", 2)
	})
}

func TestS1_46_WhatDidCertainlyNotRunIsMergedHoweverLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, ServerOptions{})
		up := time.Now().Add(time.Hour)
		c := NewClient(pushFunc(func(ctx context.Context, batch []byte) error {
			if time.Now().Before(up) {
				return notMerged("no server")
			}
			return s.Push(ctx, batch)
		}), Options{})
		defer closeClient(t, c)
		c.Sum("x").Add(1)
		flush(t, c)
		wantSum(t, s, "x", 1)
	})
}

func TestS1_46_ARestartIsSeenByTheStartOrWithASnapshotIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, ServerOptions{Types: Types{"app.words": New[words]}})
		c := NewClient(pushFunc(func(ctx context.Context, b []byte) error { return s.Push(ctx, b) }), Options{})
		defer closeClient(t, c)
		began := time.Now()
		time.Sleep(time.Hour)
		c.Sum("x", Label{"zone", "a"}).Add(1)
		Of[words](c, "app.words", "w").Update(func(w *words) { w.put("a") })
		flush(t, c)
		image := snapshot(t, s)
		time.Sleep(time.Hour)

		s = newServer(t, ServerOptions{Types: Types{"app.words": New[words]}})
		if !s.Start().Equal(began.Add(2 * time.Hour)) {
			t.Errorf("the start is %v", s.Start())
		}
		if err := s.Restore(image); err != nil {
			t.Fatal(err)
		}
		c.Sum("x", Label{"zone", "a"}).Add(1)
		flush(t, c)
		wantSum(t, s, "x", 2, Label{"zone", "a"})
		v, err := s.Read("w")
		if err != nil || !v.State.(*words).all["a"] || !v.Start.Equal(began.Add(time.Hour)) || !s.Start().Equal(began) {
			t.Errorf("%+v, %v; the server's start is %v", v, err, s.Start())
		}
		if err := newServer(t, ServerOptions{}).Restore(image); !errors.Is(err, ErrType) {
			t.Errorf("a server that does not know a type restores it: %v", err)
		}
	})
}

func TestRestoreOfSomethingElseChangesNothing(t *testing.T) {
	s := newServer(t, ServerOptions{})
	s.Push(t.Context(), batchOf(ID{1}, 1, entryOf("x", TypeSum, &Sum{wideOf(1)})))
	image := snapshot(t, s)
	twice := append(appendTime([]byte{version}, time.Now()), 2)
	for range 2 {
		twice = append(appendTime(append(twice, appendEntry(nil, "x", TypeSum, nil)...), time.Now()), 1, 2)
	}
	bad := [][]byte{{}, {2}, append(image, 0), twice}
	for n := range image[:len(image)-len(ID{})-9] {
		bad = append(bad, image[:n])
	}
	for _, b := range bad {
		if err := s.Restore(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("% x: %v", b, err)
		}
	}
	wantSum(t, s, "x", 1)
}

// Nor does it spoil the snapshot.
func TestCountsThatWouldWrapAreRefused(t *testing.T) {
	s := newServer(t, ServerOptions{})
	for n, zeros := range []bool{true, false} {
		timer := &Timer{count: 1<<64 - 1}
		timer.buckets.Zero = timer.count
		if !zeros {
			timer.buckets = Buckets{Positive: Span{Counts: []uint64{timer.count}}}
		}
		err := s.Push(t.Context(), batchOf(ID{1}, uint64(n)+1,
			entryOf("timer", TypeTimer, timer), entryOf("avg", TypeAvg, &Avg{count: 1<<64 - 1})))
		if zeros != (err == nil) || !zeros && !errors.Is(err, ErrLimit) {
			t.Errorf("push: %v", err)
		}
	}
	if err := newServer(t, ServerOptions{}).Restore(snapshot(t, s)); err != nil {
		t.Error(err)
	}
	if c := s.Counts(); c.Rejected != 2 {
		t.Errorf("%+v", c)
	}
}

func TestTooManyAccumulatorsAreRefusedByThemselves(t *testing.T) {
	s := newServer(t, ServerOptions{MaxSeries: 2})
	var entries [][]byte
	for i := range 10 {
		entries = append(entries, entryOf("x", TypeSum, &Sum{wideOf(1)}, Label{"i", fmt.Sprint(i)}))
	}
	err := s.Push(t.Context(), batchOf(ID{1}, 1, append(entries, entries[0])...))
	if !errors.Is(err, ErrRejected) || !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "and 4 more") {
		t.Errorf("push: %v", err)
	}
	wantSum(t, s, "x", 2, Label{"i", "0"})
	if c := s.Counts(); c.Series != 2 || c.Rejected != 8 {
		t.Errorf("%+v", c)
	}
}

func TestTooManyClientsWaitUntilOthersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, ServerOptions{MaxClients: 1, Lease: time.Minute})
		one := entryOf("x", TypeSum, &Sum{wideOf(1)})
		if err := s.Push(t.Context(), batchOf(ID{1}, 1, one)); err != nil {
			t.Fatal(err)
		}
		c := NewClient(s, Options{})
		defer closeClient(t, c)
		if err := s.Push(t.Context(), batchOf(c.ID(), 1, one)); !errors.Is(err, ErrFull) || errors.Is(err, ErrRejected) || !notExecuted(err) {
			t.Errorf("push: %v", err)
		}
		c.Sum("x").Add(1)
		start := time.Now()
		flush(t, c)
		if took := time.Since(start); took < time.Minute || took > 80*time.Second {
			t.Errorf("it took %v", took)
		}
		wantSum(t, s, "x", 2)
	})
}

func TestWhatIsNoBatchIsRefusedAndNotSentAgain(t *testing.T) {
	s := newServer(t, ServerOptions{})
	good := batchOf(ID{1}, 1, entryOf("x", TypeSum, &Sum{}, Label{"a", "1"}, Label{"b", "2"}))
	change := func(at int, b byte) []byte {
		c := slices.Clone(good)
		c[at] = b
		return c
	}
	many := newBatch(ID{1}, 1)
	for range MaxEntries {
		many.add(entryOf("x", TypeSum, &Sum{}))
	}
	if many.add(nil) {
		t.Error("there is room for another entry")
	}
	many.count = 0
	many.add(entryOf("x", TypeSum, &Sum{}))
	binary.LittleEndian.PutUint32(many.bytes[atCount:], MaxEntries+1)
	for name, b := range map[string][]byte{
		"too many entries":   many.bytes,
		"nothing":            nil,
		"another version":    change(0, 2),
		"no number":          change(atNumber, 0),
		"too short":          good[:len(good)-1],
		"too long":           append(slices.Clone(good), 0),
		"longer than all":    make([]byte, MaxBatch+1),
		"one entry more":     change(atCount, 2),
		"no name":            batchOf(ID{1}, 1, entryOf("", TypeSum, &Sum{})),
		"labels out of turn": batchOf(ID{1}, 1, entryOf("x", TypeSum, &Sum{}, Label{"b", ""}, Label{"a", ""})),
		"too many labels":    batchOf(ID{1}, 1, entryOf("x", TypeSum, &Sum{}, make([]Label, MaxLabels+1)...)),
		"a label that is le": batchOf(ID{1}, 1, entryOf("x", TypeSum, &Sum{}, Label{"le", ""})),
	} {
		if err := s.Push(t.Context(), b); !errors.Is(err, ErrRejected) || !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Push(t.Context(), good); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Push(ctx, good); !notExecuted(err) || errors.Is(err, ErrRejected) {
		t.Errorf("too late: %v", err)
	}
}

// stubborn is a custom aggregator that fails at everything.
type stubborn struct{}

func (*stubborn) Merge(Aggregator) error { return errLost }

func (*stubborn) AppendBinary(dst []byte) ([]byte, error) { return dst, errLost }

func (*stubborn) UnmarshalBinary([]byte) error { return nil }

func TestACustomAggregatorThatFailsIsTold(t *testing.T) {
	s := newServer(t, ServerOptions{Types: Types{"app.bad": New[stubborn], "app.words": New[words]}})
	c := NewClient(s, Options{})
	defer closeClient(t, c)
	Of[stubborn](c, "app.bad", "x").Update(func(*stubborn) {})
	if err := c.Flush(t.Context()); !errors.Is(err, errLost) {
		t.Errorf("flush: %v", err)
	}
	Of[words](c, "app.words", "y").Update(func(w *words) { w.put(strings.Repeat("x", MaxState)) })
	if err := c.Flush(t.Context()); !errors.Is(err, ErrLimit) {
		t.Errorf("flush of too much: %v", err)
	}
	entry := appendBytes(appendEntry(nil, "x", "app.bad", nil), []byte{})
	if err := s.Push(t.Context(), batchOf(ID{1}, 1, entry)); !errors.Is(err, errLost) {
		t.Errorf("push: %v", err)
	}
	s.put("x", "app.bad", "", &item{state: &stubborn{}})
	_, readErr := s.Read("x")
	_, listErr := s.List()
	_, snapshotErr := s.Snapshot()
	for what, err := range map[string]error{"read": readErr, "list": listErr, "snapshot": snapshotErr} {
		if !errors.Is(err, errLost) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestWhatDoesNotFitIntoABatchGoesInSeveral(t *testing.T) {
	s := newServer(t, ServerOptions{Types: Types{"app.words": New[words]}})
	p := &pushing{Pusher: s}
	c := NewClient(p, Options{Interval: time.Hour})
	for i := range 40 {
		Of[words](c, "app.words", fmt.Sprint("w", i)).Update(func(w *words) { w.put(strings.Repeat("x", MaxState-100)) })
	}
	closeClient(t, c)
	if s.Counts().Series != 40 || p.count() != 3 {
		t.Errorf("%d accumulators in %d pushes, want 40 in 3", s.Counts().Series, p.count())
	}
}
