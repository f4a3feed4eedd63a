package tune

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rpcpool.dev/workers/go/matmul"
)

const testSize = 8

func testOptions(p *fakePool, trials, parallel int) Options {
	return Options{
		Pool: p, Search: NewSearch(NewSpace(256), trials/4, 11), Size: testSize,
		Trials: trials, Parallel: func() int { return parallel }, Patience: time.Minute,
	}
}

func TestTunerRunsEveryTrialOnceAndRecordsIt(t *testing.T) {
	pool := newFakePool(3, testSize)
	pool.outcome = func(c matmul.Config) Outcome {
		if c.Order == "kji" {
			return OutcomeWrong
		}
		return modelOutcome(c)
	}
	var records bytes.Buffer
	o := testOptions(pool, 120, 3)
	o.Record, o.ArraysEvery = &records, 5
	tuner := NewTuner(o)
	if err := tuner.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	trials := tuner.Trials()
	if len(trials) != 120 || pool.opened != 120 || pool.closed != 120 {
		t.Fatalf("%d trials, %d sessions opened, %d closed: want 120 each", len(trials), pool.opened, pool.closed)
	}
	if pool.arrays != 24 {
		t.Errorf("%d trials sent arrays, want one in five of 120", pool.arrays)
	}
	if pool.most > 3 {
		t.Errorf("%d sessions at a time, want at most 3", pool.most)
	}
	seen := map[int]bool{}
	for _, tr := range trials {
		seen[tr.Index] = true
		checkTrial(t, pool, tr)
	}
	if len(seen) != 120 {
		t.Errorf("%d different trial numbers, want 120", len(seen))
	}
	checkRecords(t, &records, trials)
}

// checkTrial holds a record against what the fake device did.
func checkTrial(t *testing.T, pool *fakePool, tr Trial) {
	t.Helper()
	if want := pool.outcome(tr.Config); tr.Outcome != want {
		t.Errorf("trial %d (%v): %s, want %s", tr.Index, tr.Config, tr.Outcome, want)
	}
	if measured := tr.Outcome == OutcomeOK; measured != (tr.GFLOPS > 0) || measured != (tr.Error == "") {
		t.Errorf("trial %d is %s, has %g GFLOP/s and error %q", tr.Index, tr.Outcome, tr.GFLOPS, tr.Error)
	}
	if tr.Server == "" || tr.Ended.Before(tr.SessionStart()) || tr.SessionStart().Before(tr.Started) {
		t.Errorf("trial %d: server %q, started %s, session %s, ended %s", tr.Index, tr.Server, tr.Started, tr.SessionStart(), tr.Ended)
	}
	arrays := tr.Index%5 == 0 && (tr.Outcome == OutcomeOK || tr.Outcome == OutcomeWrong)
	if arrays != (tr.Verified == VerifiedArrays) {
		t.Errorf("trial %d is %s and verified by %q", tr.Index, tr.Outcome, tr.Verified)
	}
}

func checkRecords(t *testing.T, r io.Reader, want []Trial) {
	t.Helper()
	var got []Trial
	decoder := json.NewDecoder(r)
	decoder.DisallowUnknownFields()
	for decoder.More() {
		var tr Trial
		if err := decoder.Decode(&tr); err != nil {
			t.Fatalf("record %d: %v", len(got), err)
		}
		got = append(got, tr)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records differ from the trials:\n%s", diff)
	}
}

func TestTunerFindsTheValleyDespiteFailures(t *testing.T) {
	pool := newFakePool(4, testSize)
	tuner := NewTuner(testOptions(pool, 300, 4))
	if err := tuner.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := tuner.Status()
	if s.Best == nil || s.Best.Seconds > 1.5*0.001 {
		t.Fatalf("best %+v, the optimum takes 1 ms", s.Best)
	}
	if s.Counts[OutcomeCrash] == 0 || s.Done != 300 {
		t.Errorf("status %+v: want 300 done, some crashed", s)
	}
}

func TestTunerSurvivesErrorsThatAreNotTheConfigurationsFault(t *testing.T) {
	pool := newFakePool(1, testSize)
	pool.outcome = func(matmul.Config) Outcome { return OutcomeError }
	tuner := NewTuner(testOptions(pool, 5, 1))
	if err := tuner.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := tuner.Status(); s.Counts[OutcomeError] != 5 || s.Best != nil {
		t.Errorf("status %+v: want 5 errors and no best", s)
	}
	if text := tuner.Trials()[0].Error; text != "no such function" {
		t.Errorf("error text %q", text)
	}
}

func TestTunerAsksAgainWhenNoSessionIsToBeHad(t *testing.T) {
	pool := newFakePool(1, testSize)
	pool.refuse = 2
	tuner := NewTuner(testOptions(pool, 3, 1))
	if err := tuner.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(tuner.Trials()); n != 3 {
		t.Errorf("%d trials, want 3: a refusal is not a trial", n)
	}
}

func TestTunerLosesPatience(t *testing.T) {
	pool := newFakePool(1, testSize)
	pool.refuse = 1 << 30
	o := testOptions(pool, 3, 2)
	o.Patience = 0
	err := NewTuner(o).Run(t.Context())
	if !errors.Is(err, errRefused) {
		t.Errorf("error %v, want the pool's", err)
	}
}

func TestInterruptKeepsWhatIsDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	pool := newFakePool(2, testSize)
	var records bytes.Buffer
	o := testOptions(pool, 100_000, 2)
	done := 0
	o.Record = writerFunc(func(p []byte) (int, error) {
		if done++; done == 10 {
			cancel()
		}
		return records.Write(p)
	})
	tuner := NewTuner(o)
	if err := tuner.Run(ctx); err != nil {
		t.Fatalf("an interrupt is no failure: %v", err)
	}
	trials := tuner.Trials()
	if len(trials) < 10 || len(trials) > 12 {
		t.Errorf("%d trials, want the 10 before the interrupt and at most those in flight", len(trials))
	}
	checkRecords(t, &records, trials)
	if pool.opened != pool.closed {
		t.Errorf("%d sessions opened, %d closed", pool.opened, pool.closed)
	}
}

func TestTunerStopsWhenRecordsCannotBeWritten(t *testing.T) {
	full := errors.New("no space left on device")
	o := testOptions(newFakePool(2, testSize), 50, 2)
	o.Record = writerFunc(func([]byte) (int, error) { return 0, full })
	tuner := NewTuner(o)
	if err := tuner.Run(t.Context()); !errors.Is(err, full) || !strings.Contains(err.Error(), "record trial") {
		t.Errorf("error %v, want the writer's", err)
	}
	if n := len(tuner.Trials()); n == 0 || n > 2 {
		t.Errorf("%d trials kept, want those that ended", n)
	}
}

// Servers that come later are used, too.
func TestTunerGrowsWithThePool(t *testing.T) {
	pool := newFakePool(4, testSize)
	o := testOptions(pool, 200, 1)
	var tuner *Tuner
	o.Parallel = func() int {
		if tuner.Status().Done < 50 {
			return 1
		}
		return 4
	}
	measured := pool.outcome
	var arrived atomic.Int32
	all := make(chan struct{})
	pool.outcome = func(c matmul.Config) Outcome {
		switch done := tuner.Status().Done; {
		case done < 50 && pool.sessions() > 1:
			t.Errorf("%d sessions at a time after %d trials", pool.sessions(), done)
		case done >= 60: // nobody goes on until four are here
			if arrived.Add(1) == 4 {
				close(all)
			}
			select {
			case <-all:
			case <-time.After(30 * time.Second):
				t.Errorf("%d at work, want 4", arrived.Load())
			}
		}
		return measured(c)
	}
	tuner = NewTuner(o)
	if err := tuner.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := tuner.Status(); s.Done != 200 || s.Parallel != 4 {
		t.Errorf("status %+v: want 200 trials, 4 at a time in the end", s)
	}
}

func TestASpaceSmallerThanTheJob(t *testing.T) {
	pool := newFakePool(2, testSize)
	o := testOptions(pool, 1000, 2)
	o.Search = NewSearch(NewSpace(1), 10, 1)
	tuner := NewTuner(o)
	if err := tuner.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := NewSpace(1).Size() + 1
	if s := tuner.Status(); s.Done != want || s.Total != want {
		t.Errorf("%d of %d trials, want %d of %d", s.Done, s.Total, want, want)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
