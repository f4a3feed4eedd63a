package tune

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"rpcpool.dev/internal/sleep"
)

// How often a display is renewed.
const (
	barInterval  = 200 * time.Millisecond
	lineInterval = 2 * time.Second
)

// Progress is what a display shows.
type Progress struct {
	Status
	Pool    PoolState
	Elapsed time.Duration
}

// Display shows how a job goes.
type Display interface {
	// Update shows p.
	Update(p Progress)
	// Finish shows p for good and leaves the cursor on a line of its own.
	Finish(p Progress)
	// Interval is how often to update.
	Interval() time.Duration
}

// NewDisplay returns a progress bar with a live line below it if w is a
// terminal, and a plain line every two seconds if not: control codes are for
// terminals only.
func NewDisplay(w io.Writer, trials int) Display {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return newBar(f, trials, func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil || width <= 0 {
				return 80
			}
			return width
		})
	}
	return &lines{w: w}
}

// Show updates d with what current returns until ctx ends, and then finishes.
func Show(ctx context.Context, d Display, current func() Progress) {
	for sleep.For(d.Interval(), ctx.Done()) {
		d.Update(current())
	}
	d.Finish(current())
}

// lines is the display for logs.
type lines struct{ w io.Writer }

// Interval implements [Display].
func (l *lines) Interval() time.Duration { return lineInterval }

// Update implements [Display].
func (l *lines) Update(p Progress) {
	fmt.Fprintf(l.w, "tune: %d/%d trials, %s, %s, %s elapsed\n",
		p.Done, p.Total, bestText(p.Status), poolText(p), p.Elapsed.Round(time.Second))
}

// Finish implements [Display].
func (l *lines) Finish(p Progress) { l.Update(p) }

// bar is the display for terminals: a progress bar, and a line below it.
type bar struct {
	bar   *progressbar.ProgressBar
	w     io.Writer
	width func() int
}

func newBar(w io.Writer, trials int, width func() int) *bar {
	return &bar{w: w, width: width, bar: progressbar.NewOptions(trials,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription("tuning"),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionSetMaxDetailRow(1),
		progressbar.OptionSetWidth(min(40, max(10, width()-50))),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("trials"),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionShowElapsedTimeOnFinish(),
		progressbar.OptionSetTheme(progressbar.Theme{
			Saucer: "█", SaucerPadding: "░", BarStart: "▕", BarEnd: "▏",
		}),
	)}
}

// Interval implements [Display].
func (b *bar) Interval() time.Duration { return barInterval }

// Update implements [Display].
func (b *bar) Update(p Progress) {
	if b.bar.IsFinished() {
		return
	}
	if b.bar.GetMax() != p.Total {
		b.bar.ChangeMax(p.Total)
	}
	// The line first: when the bar is full it accepts no more. Errors of a
	// terminal are nobody's business.
	_ = b.bar.AddDetail(clip(bestText(p.Status)+" │ "+poolText(p), b.width()-1))
	_ = b.bar.Set(p.Done)
}

// Finish implements [Display].
func (b *bar) Finish(p Progress) {
	b.Update(p)
	if b.bar.IsFinished() {
		fmt.Fprintln(b.w) // the cursor is at the end of the line below the bar
		return
	}
	fmt.Fprint(b.w, "\n\n") // it is at the beginning of the bar
}

func bestText(s Status) string {
	if s.Best == nil {
		return "no valid result yet"
	}
	return fmt.Sprintf("best %.2f GFLOP/s (%v)", s.Best.GFLOPS, s.Best.Config)
}

// poolText tells of servers free, busy and crashed. A crashed server is back in
// milliseconds, so crashes are counted, not servers that are down.
func poolText(p Progress) string {
	var t strings.Builder
	if p.Pool.Known {
		fmt.Fprintf(&t, "servers %d free, %d busy", p.Pool.Free, p.Pool.Busy)
		if p.Pool.Down > 0 {
			fmt.Fprintf(&t, ", %d down", p.Pool.Down)
		}
	} else {
		t.WriteString("tracker silent")
	}
	fmt.Fprintf(&t, ", %d crashed", p.Counts[OutcomeCrash])
	for _, o := range []Outcome{OutcomeTimeout, OutcomeWrong, OutcomeError} {
		if n := p.Counts[o]; n > 0 {
			fmt.Fprintf(&t, ", %d %s", n, o)
		}
	}
	return t.String()
}

// clip cuts s to width columns.
func clip(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:max(width-1, 0)]) + "…"
}
