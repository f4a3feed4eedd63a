//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"rpcpool.dev/test/internal/proc"
)

// unit says what a figure's number is.
type unit string

const (
	seconds unit = "s"
	count   unit = "count"
	mebi    unit = "MiB"
	ratio   unit = "ratio"
	rate    unit = "1/s"
)

// figure is one line of the report.
type figure struct {
	Name  string   `json:"name"`
	Unit  unit     `json:"unit"`
	Value float64  `json:"value"`
	Most  *float64 `json:"at_most,omitempty"` // the target
	Note  string   `json:"note,omitempty"`
}

// missed tells whether there is a target and the value is above it.
func (f figure) missed() bool { return f.Most != nil && f.Value > *f.Most }

// report gathers figures.
type report struct {
	Figures []figure `json:"figures"`
}

func (r *report) add(name string, u unit, value float64, note string) {
	r.Figures = append(r.Figures, figure{Name: name, Unit: u, Value: value, Note: note})
}

// limited adds a figure that has a target.
func (r *report) limited(name string, u unit, value, most float64, note string) {
	r.Figures = append(r.Figures, figure{Name: name, Unit: u, Value: value, Most: &most, Note: note})
}

func (r *report) missed() (n int) {
	for _, f := range r.Figures {
		if f.missed() {
			n++
		}
	}
	return n
}

// print writes the report as a table.
func (r *report) print(w io.Writer) error {
	fmt.Fprintf(w, "%s, %d cores, %s/%s, kernel %s, %s\n\n", time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, proc.KernelVersion(), runtime.Version())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tvalue\ttarget\tmet\tnote")
	for _, f := range r.Figures {
		target, met := "", ""
		if f.Most != nil {
			target, met = "≤ "+text(*f.Most, f.Unit), map[bool]string{false: "yes", true: "NO"}[f.missed()]
		}
		fmt.Fprintln(t, strings.Join([]string{f.Name, text(f.Value, f.Unit), target, met, f.Note}, "\t"))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	return nil
}

// text is a number with its unit.
func text(v float64, u unit) string {
	switch u {
	case seconds, mebi:
		return fmt.Sprintf("%.3g %s", v, u)
	case rate:
		return fmt.Sprintf("%.3g/s", v)
	case count:
		return fmt.Sprintf("%.0f", v)
	case ratio:
		return fmt.Sprintf("× %.3g", v)
	}
	return fmt.Sprint(v)
}

// write writes the report to a file as JSON.
func (r *report) write(path string) error {
	body, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(body, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
