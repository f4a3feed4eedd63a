package device

import (
	"context"
	"time"
)

// Periods of a [Watch] whose fields are zero. A link that goes down is seen at once or,
// if the kernel does not tell, within the first; a driver that hangs within both.
const (
	watchPeriod   = 5 * time.Second
	watchPatience = 5 * time.Second
)

// calm is the time between two looks at least: news come in swarms.
const calm = 100 * time.Millisecond

// Watch looks at devices again and again. It has no memory: it tells everything that it
// sees.
type Watch struct {
	Check func() Report
	Tell  func(Report)
	// Period is the time between two looks, and Patience that of one look at most.
	Period, Patience time.Duration
	// News has something in it when a look is due before that; nil: never.
	News <-chan struct{}
	// Told is the same, by the devices themselves.
	Told <-chan struct{}
}

// Run looks until ctx ends. A look that a driver keeps from returning is left behind
// then, in a goroutine of its own.
func (w Watch) Run(ctx context.Context) {
	if w.Period == 0 {
		w.Period = watchPeriod
	}
	if w.Patience == 0 {
		w.Patience = watchPatience
	}
	for ctx.Err() == nil {
		seen := make(chan Report, 1)
		go func() { seen <- w.Check() }()
		patience := time.NewTimer(w.Patience)
		select {
		case r := <-seen:
			w.Tell(r)
		case <-ctx.Done():
		case <-patience.C:
			w.Tell(Silent(w.Patience))
			select { // the next look would hang as well
			case r := <-seen:
				w.Tell(r)
			case <-ctx.Done():
			}
		}
		patience.Stop()
		w.rest(ctx)
	}
}

// rest waits until the next look is due.
func (w Watch) rest(ctx context.Context) {
	period := time.NewTimer(w.Period)
	defer period.Stop()
	select {
	case <-ctx.Done():
		return
	case <-period.C:
		return
	case <-w.News:
	case <-w.Told:
	}
	period.Reset(min(calm, w.Period))
	select {
	case <-ctx.Done():
	case <-period.C:
	}
}
