package schedule

import "time"

// Options of a [Queue].
type Options struct {
	// Limit is how many calls run at once, inner ones not counted; 1 if it is 0.
	Limit int
	// Queue is how many calls may wait; 1024 if it is 0.
	Queue int
	// QueueBytes is how much memory they may keep; 64 MiB if it is 0.
	QueueBytes int
	// Standing is how long interactive calls may wait one and all; 100 ms if it is
	// 0. If it is negative nothing is shed for it.
	Standing time.Duration
	// Depth is how many inner calls a chain may have; 8 if it is 0.
	Depth int
	// Estimator makes what learns how long a method's calls take; [NewEstimator] if
	// it is nil.
	Estimator func() Estimator
}

// MethodOptions are what is particular to a method.
type MethodOptions struct {
	// Concurrency is how many calls run at once: 1 if each needs a device for itself; 0 for
	// any number.
	Concurrency int
	// Gate is a name that methods have in common which share one Concurrency, as those of
	// one device do. The first that is declared says how much it is.
	Gate string
	// Priority of calls that have none; Normal if it is 0.
	Priority Priority
}

// Estimator learns how long the calls of one method take.
type Estimator interface {
	Add(took time.Duration)
	// Mean is what to expect of the next; 0 if nothing is known.
	Mean() time.Duration
}

// Reason is why a call is refused.
type Reason uint8

// Reasons.
const (
	Queued   Reason = iota // it is not refused
	Full                   // too many wait
	Hopeless               // its turn would come after its deadline
	Standing               // all wait for too long
	Late                   // its deadline has passed
	Large                  // it has more bytes than may ever wait
	Deep                   // too many inner calls in one another
	Reasons                // is their number
)

// String is the name, as in metrics.
func (r Reason) String() string {
	return [...]string{"queued", "full", "hopeless", "standing", "late", "large", "deep"}[r]
}

// Verdict is what becomes of a call.
type Verdict struct {
	Reason Reason
	After  time.Duration // when another attempt may be of use; negative: never
}

// Depth is what there is to do, for those who choose between servers.
type Depth struct {
	Waiting int           // calls, inner ones not counted
	Inner   int           // inner calls that wait
	Bytes   int           // that they all keep
	Running int           // slots in use
	Wait    time.Duration // for all that wait without a bound of their method to start, as far as is known
}

func (o *Options) fill() {
	o.Limit = max(o.Limit, 1)
	if o.Queue <= 0 {
		o.Queue = 1024
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = 64 << 20
	}
	if o.Standing == 0 {
		o.Standing = 100 * time.Millisecond
	}
	if o.Depth <= 0 {
		o.Depth = 8
	}
	if o.Estimator == nil {
		o.Estimator = NewEstimator
	}
}
