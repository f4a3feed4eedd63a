package controllers

import (
	"slices"
	"testing"
	"time"
)

// paced is a pacer whose pauses end when the test says so.
type paced struct {
	pacer  pacer[string]
	emits  []string
	pauses []func()
}

func newPaced() *paced {
	p := &paced{}
	p.pacer = pacer[string]{
		period: time.Second,
		emit:   func(k string) { p.emits = append(p.emits, k) },
		after:  func(_ time.Duration, f func()) { p.pauses = append(p.pauses, f) },
	}
	return p
}

// pass ends the pauses that have begun.
func (p *paced) pass() {
	ended := p.pauses
	p.pauses = nil
	for _, end := range ended {
		end()
	}
}

func TestNewsIsPassedOnAtOnceAndThenOnceAPeriod(t *testing.T) {
	p := newPaced()
	for range 3 {
		p.pacer.notify("a")
	}
	p.pacer.notify("b")
	if want := []string{"a", "b"}; !slices.Equal(p.emits, want) {
		t.Fatalf("at once: %q, want %q", p.emits, want)
	}
	p.pass()
	if want := []string{"a", "b", "a"}; !slices.Equal(p.emits, want) {
		t.Fatalf("after a period: %q, want %q: of b there was no more news", p.emits, want)
	}
	p.pacer.notify("a")
	if len(p.emits) != 3 {
		t.Fatal("news within the period that follows was passed on at once")
	}
	p.pass()
	p.pass()
	if want := []string{"a", "b", "a", "a"}; !slices.Equal(p.emits, want) {
		t.Fatalf("at the end: %q, want %q", p.emits, want)
	}
	if len(p.pacer.quiet) != 0 || len(p.pauses) != 0 {
		t.Errorf("without news, %d kinds and %d pauses are left", len(p.pacer.quiet), len(p.pauses))
	}
}
