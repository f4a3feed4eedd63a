package tune

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"rpcpool.dev/internal/sleep"
	"rpcpool.dev/workers/go/matmul"
)

// Options of a [Tuner].
type Options struct {
	Pool   Pool
	Search *Search
	Key    string // of the servers, for the record
	Size   int    // n: the matrices are n×n
	Trials int    // how many to run
	// Parallel is how many to run at a time, at least 1. It is asked when a trial
	// begins; the number never shrinks.
	Parallel func() int
	// ArraysEvery makes every so-manieth trial send its operands and fetch the
	// product; 0: none does.
	ArraysEvery int
	// Patience is how long a trial goes on asking when no session is to be had.
	Patience time.Duration
	// Record gets every trial as a line of JSON when it ends; nil: nobody does.
	Record io.Writer
	// Now is the clock, time.Now by default.
	Now func() time.Time
}

// Pauses between two attempts to open a session.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// Tuner runs trials. Its methods but Run are safe at any time.
type Tuner struct {
	o         Options
	a, b      []float32
	reference []float32
	checksum  float64

	mu     sync.Mutex
	next   int
	trials []Trial
	status Status
}

// Status is where a job stands.
type Status struct {
	Done, Total int
	Parallel    int             // trials at a time
	Counts      map[Outcome]int // only read
	Best        *Trial          // nil: none yet; only read
}

// NewTuner prepares a job. It computes the reference product, which takes a
// moment for large sizes.
func NewTuner(o Options) *Tuner {
	if o.Now == nil {
		o.Now = time.Now
	}
	t := &Tuner{o: o, reference: matmul.Reference(o.Size)}
	t.a, t.b = matmul.Inputs(o.Size)
	t.checksum = matmul.Checksum(t.reference, o.Size)
	t.status = Status{Total: o.Trials, Parallel: 1, Counts: map[Outcome]int{}}
	return t
}

// Run runs the job. It ends early when ctx does, without an error: what was
// measured until then is the result. It fails if no session could be had or a
// record not be written; what was measured until then remains.
func (t *Tuner) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	var work func() error
	work = func() error {
		for {
			for range t.wanted() {
				g.Go(work)
			}
			more, err := t.step(ctx)
			if err != nil || !more {
				return err
			}
		}
	}
	g.Go(work)
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err //nolint:wrapcheck // step's own
}

// wanted is how many more trials to run at a time, from now on.
func (t *Tuner) wanted() int {
	n := t.o.Parallel()
	t.mu.Lock()
	defer t.mu.Unlock()
	n = max(0, n-t.status.Parallel)
	t.status.Parallel += n
	return n
}

// Trials returns the trials that have ended, in the order of their ends.
func (t *Tuner) Trials() []Trial {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Trial(nil), t.trials...)
}

// Status returns where the job stands.
func (t *Tuner) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	s.Counts = make(map[Outcome]int, len(t.status.Counts))
	for o, n := range t.status.Counts {
		s.Counts[o] = n
	}
	return s
}

// step runs one trial; false if there is none left.
func (t *Tuner) step(ctx context.Context) (more bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	index, p, ok := t.propose()
	if !ok {
		return false, nil
	}
	trial := Trial{Index: index, Key: t.o.Key, Size: t.o.Size, Phase: p.Phase, Config: p.Config, Started: t.o.Now()}
	session, err := t.open(ctx)
	if err != nil {
		return false, err
	}
	opened := t.o.Now()
	t.measure(ctx, session, &trial)
	_ = session.Close() // after a crash there is nothing left to close
	if err := ctx.Err(); err != nil {
		return false, err
	}
	trial.Ended = t.o.Now()
	trial.WaitS = opened.Sub(trial.Started).Seconds()
	trial.SessionS = trial.Ended.Sub(opened).Seconds()
	return true, t.finish(p, trial)
}

func (t *Tuner) propose() (int, Proposal, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next >= t.status.Total {
		return 0, Proposal{}, false
	}
	p, ok := t.o.Search.Next()
	if !ok {
		t.status.Total = t.next // the space is smaller than the job
		return 0, Proposal{}, false
	}
	t.next++
	return t.next - 1, p, true
}

// open gets a session, however long the queue is. When none can be had at all
// it asks again until patience is over.
func (t *Tuner) open(ctx context.Context) (Session, error) {
	deadline := t.o.Now().Add(t.o.Patience)
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		s, err := t.o.Pool.Open(ctx)
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if t.o.Now().After(deadline) {
			return nil, fmt.Errorf("no session for %s: %w", t.o.Patience, err)
		}
		if !sleep.For(wait, ctx.Done()) {
			return nil, ctx.Err()
		}
	}
}

// measure runs the trial on s and judges the result.
func (t *Tuner) measure(ctx context.Context, s Session, trial *Trial) {
	trial.Server = s.Server()
	var r matmul.Result
	var err error
	right := false
	if t.o.ArraysEvery > 0 && trial.Index%t.o.ArraysEvery == 0 {
		var c []float32
		trial.Verified = VerifiedArrays
		r, c, err = s.MeasureArrays(ctx, trial.Config, t.a, t.b)
		right = err == nil && sameElements(c, t.reference)
	} else {
		trial.Verified = VerifiedChecksum
		r, err = s.Measure(ctx, trial.Config)
		right = err == nil && matmul.Same(r.Checksum, t.checksum)
	}
	trial.Seconds, trial.Repeats = r.Seconds, r.Repeats
	failure := &Failure{Outcome: OutcomeError}
	switch {
	case errors.As(err, &failure):
		trial.Outcome = failure.Outcome
	case err != nil:
		trial.Outcome = OutcomeError
	case r.Seconds <= 0:
		trial.Outcome, err = OutcomeError, fmt.Errorf("measured %g s", r.Seconds)
	case !right:
		trial.Outcome, err = OutcomeWrong, fmt.Errorf("checksum %g, want %g", r.Checksum, t.checksum)
	default:
		trial.Outcome = OutcomeOK
		trial.GFLOPS = gflops(t.o.Size, r.Seconds)
	}
	if err != nil {
		trial.Error = err.Error()
	}
	if trial.Outcome != OutcomeOK && trial.Outcome != OutcomeWrong {
		trial.Verified = ""
	}
}

func sameElements(got, want []float32) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range want {
		if !matmul.Same(float64(got[i]), float64(want[i])) {
			return false
		}
	}
	return true
}

// finish files a trial that has ended.
func (t *Tuner) finish(p Proposal, trial Trial) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch trial.Outcome {
	case OutcomeOK:
		t.o.Search.Tell(p, trial.Seconds)
	case OutcomeError: // not the configuration's fault
	default:
		t.o.Search.TellFailed(p)
	}
	t.trials = append(t.trials, trial)
	t.status.Done++
	t.status.Counts[trial.Outcome]++
	if trial.Outcome == OutcomeOK && (t.status.Best == nil || trial.Seconds < t.status.Best.Seconds) {
		t.status.Best = &trial
	}
	if t.o.Record == nil {
		return nil
	}
	return WriteRecord(t.o.Record, trial)
}
