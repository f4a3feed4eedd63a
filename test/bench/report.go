//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"rpcpool.dev/test/internal/proc"
)

// report is what a run of the program measured, and on what.
type report struct {
	Started time.Time `json:"started"`
	Machine machine   `json:"machine"`
	Rows    []*row    `json:"rows"`
}

// machine is what a reader needs to know of where the figures come from.
type machine struct {
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Cores  int    `json:"cores"`
	Load   string `json:"load_before"` // averages of 1, 5 and 15 minutes, before we began
}

func newReport() *report {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("? ? ?")
	}
	return &report{
		Started: time.Now(),
		Machine: machine{
			OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version(), Cores: runtime.NumCPU(),
			Kernel: proc.KernelVersion(),
			Load:   strings.Join(strings.Fields(string(load))[:3], " "),
		},
	}
}

// add judges a row and files it under a scenario.
func (r *report) add(scenario string, w *row) {
	w.Scenario = scenario
	w.judge()
	r.Rows = append(r.Rows, w)
}

func (r *report) missed() (n int) {
	for _, w := range r.Rows {
		if w.missed() {
			n++
		}
	}
	return n
}

func (m machine) String() string {
	return fmt.Sprintf("%d cores, %s/%s, kernel %s, %s, load before %s", m.Cores, m.OS, m.Arch, m.Kernel, m.Go, m.Load)
}

// table prints the rows for a terminal.
func (r *report) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(columns(), "\t"))
	for _, line := range r.Rows {
		fmt.Fprintln(t, strings.Join(line.cells(), "\t"))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	for _, note := range r.notes() {
		fmt.Fprintln(w, note)
	}
	return nil
}

// notes lists what stands below the table: what the floors are, each once, and
// remarks.
func (r *report) notes() []string {
	var notes []string
	for start := 0; start < len(r.Rows); {
		end := start
		for end < len(r.Rows) && r.Rows[end].Scenario == r.Rows[start].Scenario {
			end++
		}
		rows := r.Rows[start:end]
		notes = append(notes, floorNotes(rows)...)
		for _, line := range rows {
			if line.Note != "" {
				notes = append(notes, fmt.Sprintf("%s: %s: %s", line.Scenario, line.Figure, line.Note))
			}
		}
		start = end
	}
	return notes
}

// floorNotes says what the floors of a scenario's rows are. One that is the
// same for all is said of the scenario.
func floorNotes(rows []*row) []string {
	var kinds []string
	of := map[string][]string{}
	for _, line := range rows {
		if line.FloorIs == "" {
			continue
		}
		if of[line.FloorIs] == nil {
			kinds = append(kinds, line.FloorIs)
		}
		of[line.FloorIs] = append(of[line.FloorIs], line.Figure)
	}
	notes := make([]string, 0, len(kinds))
	for _, kind := range kinds {
		what := strings.Join(of[kind], "; ")
		if len(kinds) == 1 {
			what = "all"
		}
		notes = append(notes, fmt.Sprintf("%s: floor of %s: %s", rows[0].Scenario, what, kind))
	}
	return notes
}

// markdown returns the report as a Markdown table with its notes.
func (r *report) markdown() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s on %s.\n\n", r.Started.UTC().Format("2006-01-02 15:04 UTC"), r.Machine)
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(columns())
	line([]string{"---", "---", "--:", "--:", "--:", "--:", "--:", "---", "---"})
	for _, w := range r.Rows {
		line(w.cells())
	}
	b.WriteString("\n")
	for _, note := range r.notes() {
		fmt.Fprintf(&b, "- %s\n", note)
	}
	return []byte(b.String())
}

// Marks between which a document has the newest figures.
const (
	figuresBegin = "<!-- figures:begin -->\n"
	figuresEnd   = "<!-- figures:end -->\n"
)

// refreshFigures replaces the figures in a document.
func refreshFigures(path string, figures []byte) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("refresh figures: %w", err)
	}
	before, rest, ok := bytes.Cut(text, []byte(figuresBegin))
	_, after, ok2 := bytes.Cut(rest, []byte(figuresEnd))
	if !ok || !ok2 {
		return fmt.Errorf("refresh figures: %s does not have the lines %q and %q", path, figuresBegin, figuresEnd)
	}
	return writeFile(path, slices.Concat(before, []byte(figuresBegin), figures, []byte(figuresEnd), after))
}

// writeJSON writes the report to a file, whose directory it makes.
func (r *report) writeJSON(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	return writeFile(path, append(text, '\n'))
}

func writeFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil { //nolint:gosec // the path is a flag of the person who runs this
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
