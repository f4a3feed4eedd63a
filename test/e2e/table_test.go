package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// row is what a fault costs, of several times that it was made.
type row struct {
	fault     string
	detected  []time.Duration // until the client is told, or the device withdrawn
	recovered []time.Duration // until the next session has had an answer
	lost      int             // sessions, of all times
	saw       string          // what the client was told
	target    time.Duration   // that recovery is held to; 0: none
}

// table collects rows.
type table struct {
	mu   sync.Mutex
	rows []row
}

func (t *table) add(r row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
}

const tableHead = "| fault | times | detected in | recovered in | target | sessions lost | what the client saw |\n|---|---|---|---|---|---|---|\n"

// write writes the table for docs/reliability.md. Rows of faults that this run has not
// made stay as an earlier one has left them.
func (t *table) write(dir string) error {
	if len(t.rows) == 0 {
		return nil
	}
	path := filepath.Join(dir, "reliability.md")
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(path, []byte(t.merged(string(before))), 0o644))
}

// merged is the table with the rows of an earlier one.
func (t *table) merged(before string) string {
	lines := slices.Collect(strings.Lines(strings.TrimPrefix(before, tableHead)))
	for _, r := range t.rows {
		line := r.line()
		same := func(old string) bool { return strings.HasPrefix(old, "| "+r.fault+" |") }
		if i := slices.IndexFunc(lines, same); i >= 0 {
			lines[i] = line
		} else {
			lines = append(lines, line)
		}
	}
	return tableHead + strings.Join(lines, "")
}

func (r row) line() string {
	target := ""
	if r.target > 0 {
		target = "≤ " + short(r.target)
	}
	return fmt.Sprintf("| %s | %d | %s | %s | %s | %d | %s |\n",
		r.fault, max(len(r.detected), len(r.recovered)), span(r.detected), span(r.recovered), target, r.lost, r.saw)
}

// span is the median and, where there are several, the worst.
func span(all []time.Duration) string {
	if len(all) == 0 {
		return "–"
	}
	sorted := slices.Sorted(slices.Values(all))
	if len(sorted) == 1 {
		return short(sorted[0])
	}
	return fmt.Sprintf("%s, at most %s", short(sorted[len(sorted)/2]), short(sorted[len(sorted)-1]))
}

// short is a duration with two or three digits.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

func TestTableKeepsWhatThisRunHasNotMade(t *testing.T) {
	first := &table{rows: []row{
		{fault: "a", recovered: []time.Duration{time.Second, 3 * time.Second, 2 * time.Second}, target: 2 * time.Second},
		{fault: "ab", detected: []time.Duration{5 * time.Millisecond}, lost: 1, saw: "x"},
	}}
	second := &table{rows: []row{{fault: "a", recovered: []time.Duration{time.Minute}}, {fault: "c"}}}
	want := tableHead +
		"| a | 1 | – | 60 s |  | 0 |  |\n" +
		"| ab | 1 | 5.0 ms | – |  | 1 | x |\n" +
		"| c | 0 | – | – |  | 0 |  |\n"
	if got := second.merged(first.merged("")); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if got := first.merged(""); !strings.Contains(got, "| a | 3 | – | 2.0 s, at most 3.0 s | ≤ 2.0 s | 0 |  |\n") {
		t.Error(got)
	}
}
