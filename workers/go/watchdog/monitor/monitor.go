package monitor

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"time"
)

// Pauses of a Monitor that names none.
const (
	DefaultAtOnce   = time.Second
	DefaultMinPause = 100 * time.Millisecond
	DefaultMaxPause = 30 * time.Second
)

// Monitor says what is started again, and how soon. Only Command is needed.
type Monitor struct {
	// Command prepares the program for one more start. Its context ends with
	// Run's: give it to [exec.CommandContext].
	Command func(ctx context.Context) *exec.Cmd
	// AtOnce is the run time below which a program ended at once; 0:
	// [DefaultAtOnce].
	AtOnce time.Duration
	// MinPause is the pause after the first such end, MaxPause the longest
	// there is; 0: [DefaultMinPause], [DefaultMaxPause].
	MinPause, MaxPause time.Duration
	// Ended, if not nil, is told of each end before the pause.
	Ended func(End)
}

// End is how one run of the program ended.
type End struct {
	State *os.ProcessState // nil: it never started, and Err says why
	Err   error            // nil: exit status 0
	Ran   time.Duration
	Pause time.Duration // until the next start
}

// Run starts the program, and again whenever it has ended, until ctx ends. Then
// the program is ended as its Command says (by default it is killed), waited
// for, and the context's cause returned.
func (m Monitor) Run(ctx context.Context) error {
	if m.Command == nil {
		return errors.New("monitor: no command")
	}
	p := pauses{atOnce: or(m.AtOnce, DefaultAtOnce), least: or(m.MinPause, DefaultMinPause), most: or(m.MaxPause, DefaultMaxPause)}
	for ctx.Err() == nil {
		end := once(m.Command(ctx))
		end.Pause = p.next(end.Ran)
		if m.Ended != nil {
			m.Ended(end)
		}
		wait(ctx, end.Pause)
	}
	return context.Cause(ctx)
}

func once(cmd *exec.Cmd) End {
	began := time.Now()
	err := cmd.Run()
	return End{State: cmd.ProcessState, Err: err, Ran: time.Since(began)}
}

// pauses decides how long to wait.
type pauses struct {
	atOnce, least, most time.Duration
	last                time.Duration // 0: the last run was long enough
}

// next returns the pause after a run of the given length.
func (p *pauses) next(ran time.Duration) time.Duration {
	if ran >= p.atOnce {
		p.last = 0
	} else {
		p.last = min(max(p.least, 2*p.last), p.most)
	}
	return p.last
}

func wait(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
