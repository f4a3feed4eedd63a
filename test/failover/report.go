//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"rpcpool.dev/test/internal/proc"
)

// figure is one line of the table: durations in seconds.
type figure struct {
	Name  string   `json:"name"`
	N     int      `json:"n"`
	P50   float64  `json:"p50_s"`
	P99   float64  `json:"p99_s"`
	Max   float64  `json:"max_s"`
	Most  *float64 `json:"p99_at_most_s,omitempty"` // target
	Note  string   `json:"note,omitempty"`
	cells []time.Duration
}

// summarise computes quantiles by nearest rank: with few values, p99 is the
// largest.
func (f figure) summarise() figure {
	f.N = len(f.cells)
	if f.N == 0 {
		return f
	}
	slices.Sort(f.cells)
	at := func(q float64) float64 { return f.cells[int(math.Ceil(q*float64(f.N)))-1].Seconds() }
	f.P50, f.P99, f.Max = at(0.5), at(0.99), at(1)
	return f
}

// registerMost is the target: sidecars find a new leader within a second or two
// of its EndpointSlice.
const registerMost = 2.0

// figures measures the failovers.
func (v *verdict) figures() []figure {
	var list []figure
	for _, k := range []kind{kill, stop, freeze} {
		blackout := figure{Name: string(k) + ": blackout, to the first grant"}
		floor := figure{Name: "  floor in the same run: election and settling", Note: v.floorNote(k)}
		election := figure{Name: "  of it, until another one is elected", Note: "Kubernetes' leader election"}
		moved := figure{Name: "  of it, from there until the EndpointSlice has changed"}
		over := figure{Name: "  beyond the floor"}
		registered := figure{Name: "  EndpointSlice to the last server registered"}
		if k != freeze { // its servers notice by its silence
			most := registerMost
			registered.Most = &most
		}
		for _, f := range v.failovers {
			if f.kind != k || f.granted.IsZero() {
				continue
			}
			blackout.cells = append(blackout.cells, f.granted.Sub(f.at))
			floor.cells = append(floor.cells, f.elected.Sub(f.at)+v.settle)
			election.cells = append(election.cells, f.elected.Sub(f.at))
			moved.cells = append(moved.cells, f.moved.Sub(f.elected))
			over.cells = append(over.cells, f.granted.Sub(f.elected)-v.settle)
			registered.cells = append(registered.cells, f.registered.Sub(f.moved))
		}
		if len(blackout.cells) == 0 {
			continue
		}
		for _, f := range []figure{blackout, floor, election, moved, over, registered} {
			list = append(list, f.summarise())
		}
	}
	return list
}

// floorNote says what a blackout costs by the flags alone.
func (v *verdict) floorNote(k kind) string {
	if k == stop {
		return fmt.Sprintf("by the flags %s: the Lease is given up", v.settle)
	}
	return fmt.Sprintf("by the flags %s and %s; followers see renewals by whole seconds, and may be up to one early", v.lease, v.settle)
}

// missed tells whether there is a target and it is missed.
func (f figure) missed() bool { return f.Most != nil && f.P99 > *f.Most }

// publish prints the result and writes it as JSON, if that is asked for.
func (o *settings) publish(w io.Writer, v *verdict) error {
	figures := v.figures()
	if err := printFigures(w, figures); err != nil {
		return err
	}
	o.printCounts(w, v)
	broken := printRules(w, v)
	fmt.Fprintf(w, "failover: seed %d, %d violations\n", o.seed, broken)
	if o.json != "" {
		if err := o.writeJSON(figures, v); err != nil {
			return err
		}
	}
	if broken > 0 {
		return fmt.Errorf("%w: %d times; seed %d", errBroken, broken, o.seed)
	}
	return nil
}

func printFigures(w io.Writer, figures []figure) error {
	fmt.Fprintf(w, "%s, %d cores, %s/%s, kernel %s, %s\n\n", time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, proc.KernelVersion(), runtime.Version())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tn\tp50\tp99\tmax\ttarget\tmet\tnote")
	for _, f := range figures {
		target, met := "", ""
		if f.Most != nil {
			target, met = fmt.Sprintf("p99 ≤ %g s", *f.Most), map[bool]string{false: "yes", true: "NO"}[f.missed()]
		}
		fmt.Fprintf(t, "%s\t%d\t%.2f s\t%.2f s\t%.2f s\t%s\t%s\t%s\n", f.Name, f.N, f.P50, f.P99, f.Max, target, met, f.Note)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	return nil
}

// printCounts prints what happened how often.
func (o *settings) printCounts(w io.Writer, v *verdict) {
	gone, early := map[kind]int{}, 0
	for _, f := range v.failovers {
		if gone[f.kind]++; f.granted.IsZero() {
			early++
		}
	}
	fmt.Fprintf(w, "\n%d leaders killed, %d stopped, %d frozen under load; in %d cases the next one before all was as before; %d operators gave up by themselves\n",
		gone[kill], gone[stop], gone[freeze], early, v.gaveUp)
	fmt.Fprintf(w, "%d sessions by %d clients on %d devices, %.0f/s; %d grants; %d requests were made again: their tracker had gone, or their client would not wait\n",
		v.sessions, o.clients, len(v.devices), float64(v.sessions)/max(v.took.Seconds(), 1), v.granted, v.retries)
	fmt.Fprintf(w, "%d sessions were in progress when a leader went, %d of them still when their servers had registered with the next one; %d were cut\n", v.across, v.spanning, v.broken[ruleCut])
	fmt.Fprintf(w, "%d double grants, %d lost devices; %d stale grants (refused at the door), %d to a server that did not listen\n",
		v.broken[ruleDouble], v.broken[ruleLost], v.stale, v.missed)
	fmt.Fprintf(w, "%d grants of a device that was busy, and %d by a leader that had been frozen and did not know yet\n", v.busy, v.busyAwoken)
}

// printRules prints each promise and how often it was broken, and how.
func printRules(w io.Writer, v *verdict) (broken int) {
	for i, x := range v.violations {
		fmt.Fprintf(w, "\n%d. %s: %s\n", i+1, x.rule, x.what)
	}
	fmt.Fprintln(w)
	for _, rule := range rules() {
		n := v.broken[rule]
		word := map[bool]string{false: "ok  ", true: "FAIL"}[n > 0]
		fmt.Fprintf(w, "%s %s: broken %d times\n", word, rule, n)
		broken += n
	}
	return broken
}

func (o *settings) writeJSON(figures []figure, v *verdict) error {
	out, err := json.MarshalIndent(map[string]any{
		"seed": o.seed, "figures": figures, "broken": v.broken, "sessions": v.sessions, "grants": v.granted,
		"stale_grants": v.stale, "unreached": v.missed, "grants_while_busy": v.busy, "grants_while_busy_by_frozen": v.busyAwoken,
		"sessions_in_progress": v.across, "requests_made_again": v.retries,
		"sessions_told_to_the_next": v.spanning, "lease_s": o.lease.Seconds(), "settle_s": o.settle.Seconds(),
	}, "", "  ")
	if err == nil {
		err = os.WriteFile(o.json, append(out, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
