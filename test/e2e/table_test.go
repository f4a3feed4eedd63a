package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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

// write writes the table for docs/reliability.md.
func (t *table) write(dir string) error {
	if len(t.rows) == 0 {
		return nil
	}
	var text strings.Builder
	fmt.Fprintln(&text, "| fault | times | detected in | recovered in | target | sessions lost | what the client saw |")
	fmt.Fprintln(&text, "|---|---|---|---|---|---|---|")
	for _, r := range t.rows {
		target := ""
		if r.target > 0 {
			target = "≤ " + short(r.target)
		}
		fmt.Fprintf(&text, "| %s | %d | %s | %s | %s | %d | %s |\n",
			r.fault, max(len(r.detected), len(r.recovered)), span(r.detected), span(r.recovered), target, r.lost, r.saw)
	}
	return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "reliability.md"), []byte(text.String()), 0o644))
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
