//go:build linux

package main

import "fmt"

// unit says what the numbers of a row are. JSON has base units only.
type unit string

const (
	seconds   unit = "s"
	perSecond unit = "1/s"
	bytesUnit unit = "B"
	count     unit = "count"
	share     unit = "share" // 0..1
	times     unit = "ratio"
)

// row is one figure of a report.
type row struct {
	Scenario string  `json:"scenario"`
	Figure   string  `json:"figure"`
	Unit     unit    `json:"unit"`
	Value    dist    `json:"value"` // of a single number: n = 1, and all quantiles are it
	Floor    *dist   `json:"floor,omitempty"`
	FloorIs  string  `json:"floor_is,omitempty"`
	Ratio    float64 `json:"ratio_to_floor,omitempty"` // of the p50s
	Target   *target `json:"target,omitempty"`
	Met      *bool   `json:"met,omitempty"`
	Note     string  `json:"note,omitempty"`
}

// statistic is the number of a row that a target is about.
type statistic string

const (
	ofP50   statistic = "p50"
	ofP99   statistic = "p99"
	ofValue statistic = "value"
	ofRatio statistic = "ratio_to_floor"
)

// target is what a figure is to reach.
type target struct {
	Of      statistic `json:"of"`
	AtLeast bool      `json:"at_least,omitempty"` // else: at most
	Limit   float64   `json:"limit"`
}

// latencies is a row of durations.
func latencies(figure string, s *sample) *row {
	return &row{Figure: figure, Unit: seconds, Value: s.dist()}
}

// number is a row of one number.
func number(figure string, u unit, v float64) *row {
	return &row{Figure: figure, Unit: u, Value: single(v)}
}

func single(v float64) dist { return dist{N: 1, P50: v, P99: v, Max: v} }

// above puts the floor that was measured in the same run beside the figure.
func (r *row) above(floor *sample, what string) *row {
	return r.aboveDist(floor.dist(), what)
}

// aboveNumber is above for a floor that is one number.
func (r *row) aboveNumber(floor float64, what string) *row {
	return r.aboveDist(single(floor), what)
}

func (r *row) aboveDist(d dist, what string) *row {
	r.Floor, r.FloorIs = &d, what
	if d.P50 > 0 {
		r.Ratio = r.Value.P50 / d.P50
	}
	return r
}

// atMost sets the target; of a duration in seconds.
func (r *row) atMost(of statistic, limit float64) *row {
	r.Target = &target{Of: of, Limit: limit}
	return r
}

// atLeast sets the target.
func (r *row) atLeast(of statistic, limit float64) *row {
	r.Target = &target{Of: of, AtLeast: true, Limit: limit}
	return r
}

// noted adds what a reader must know.
func (r *row) noted(format string, a ...any) *row {
	r.Note = fmt.Sprintf(format, a...)
	return r
}

// judge compares the figure with its target. A ratio without a floor misses it.
func (r *row) judge() {
	if r.Target == nil {
		return
	}
	v := r.Value.P50
	switch r.Target.Of {
	case ofP99:
		v = r.Value.P99
	case ofRatio:
		v = r.Ratio
	case ofP50, ofValue:
	}
	met := v <= r.Target.Limit
	if r.Target.AtLeast {
		met = v >= r.Target.Limit
	}
	if r.Value.N == 0 || r.Target.Of == ofRatio && r.Ratio == 0 {
		met = false
	}
	r.Met = &met
}

// missed tells whether there was a target and the figure is not up to it.
func (r *row) missed() bool { return r.Met != nil && !*r.Met }

// columns of the printed tables.
func columns() []string {
	return []string{"scenario", "figure", "p50 or value", "p99", "p99.9", "floor", "× floor", "target", "met"}
}

// cells are the row as text, one for each column.
func (r *row) cells() []string {
	c := []string{r.Scenario, r.Figure, r.Unit.text(r.Value.P50), "", "", "", "", "", ""}
	if r.Value.N > 1 {
		c[3] = r.Unit.text(r.Value.P99)
	}
	if r.Value.P999 != nil {
		c[4] = r.Unit.text(*r.Value.P999)
	}
	if r.Floor != nil {
		c[5] = r.Unit.text(r.Floor.P50)
		c[6] = fmt.Sprintf("%.3g", r.Ratio)
	}
	if r.Target != nil {
		c[7] = r.Target.text(r.Unit)
		c[8] = map[bool]string{true: "yes", false: "NO"}[!r.missed()]
	}
	return c
}

func (t target) text(u unit) string {
	sign := "≤"
	if t.AtLeast {
		sign = "≥"
	}
	switch t.Of {
	case ofRatio:
		return fmt.Sprintf("%s %g × floor", sign, t.Limit)
	case ofP50, ofP99:
		return fmt.Sprintf("%s %s %s", t.Of, sign, u.text(t.Limit))
	case ofValue:
	}
	return sign + " " + u.text(t.Limit)
}

// text formats a number for people.
func (u unit) text(v float64) string {
	switch u {
	case seconds:
		return secondsText(v)
	case perSecond:
		return thousands(v) + "/s"
	case bytesUnit:
		if v >= 1<<20 {
			return fmt.Sprintf("%.3g MiB", v/(1<<20))
		}
		return fmt.Sprintf("%.3g KiB", v/1024)
	case share:
		return fmt.Sprintf("%.3g %%", v*100)
	case count, times:
	}
	return fmt.Sprintf("%.4g", v)
}

func secondsText(v float64) string {
	switch {
	case v < 0:
		return "-" + secondsText(-v)
	case v < 1e-3:
		return fmt.Sprintf("%.3g µs", v*1e6)
	case v < 1:
		return fmt.Sprintf("%.3g ms", v*1e3)
	default:
		return fmt.Sprintf("%.3g s", v)
	}
}

// thousands formats a rate as a whole number in groups of three digits.
func thousands(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
