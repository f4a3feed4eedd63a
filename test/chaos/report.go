//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// publish prints the result and writes it as JSON, if that is asked for.
func (c *chaos) publish(w io.Writer) error {
	t := &c.book.checker.tally
	c.printSessions(w, t)
	c.printKills(w)
	c.printSizes(w)
	fmt.Fprintf(w, "\n%d sessions of %d, %.0f/s; %d may have been touched by a kill; %d recorded twice and %d not at all by sidecars that were killed; "+
		"%d whose agent was killed are recorded as out of memory; %d grants led to nothing\n",
		c.book.ended.Load(), c.sessions, c.rate, t.touched, t.twice, t.lost, t.guessed, t.misses)
	if n := len(t.late); n > 0 {
		slices.Sort(t.late)
		fmt.Fprintf(w, "told of a timeout after it: p50 %s, p99 %s, at most %s (%d sessions)\n",
			t.late[n/2].Round(time.Microsecond), t.late[n*99/100].Round(time.Microsecond), t.late[n-1].Round(time.Microsecond), n)
	}
	broken := c.printRules(w, t)
	if c.json != "" {
		if err := c.writeJSON(t); err != nil {
			return err
		}
	}
	if broken > 0 {
		return fmt.Errorf("%w: %d times; seed %d", errBroken, broken, c.seed)
	}
	return nil
}

// printSessions prints how often which way was recorded as what.
func (c *chaos) printSessions(w io.Writer, t *tally) {
	fmt.Fprintln(w, "\nsessions by what the program did and how it was recorded")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(t.sessions)) {
		causes := t.sessions[name]
		var list []string
		total := 0
		for _, cause := range slices.Sorted(maps.Keys(causes)) {
			list = append(list, fmt.Sprintf("%s %d", cause, causes[cause]))
			total += causes[cause]
		}
		fmt.Fprintf(table, "  %s\t%d\t%s\n", name, total, strings.Join(list, ", "))
	}
	_ = table.Flush()
}

func (c *chaos) printKills(w io.Writer) {
	fmt.Fprintln(w, "\nkills")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, kind := range slices.Sorted(maps.Keys(c.book.kills)) {
		fmt.Fprintf(table, "  %s\t%d\n", kind, c.book.kills[kind])
	}
	_ = table.Flush()
	starts := 0
	for _, u := range c.fleet.all() {
		starts += u.starts
	}
	fmt.Fprintf(w, "  programs were started %d times\n", starts)
	fmt.Fprintln(w, "\nwarnings in the logs")
	for _, note := range slices.Sorted(maps.Keys(c.fleet.notes)) {
		fmt.Fprintf(w, "  %d × %s\n", c.fleet.notes[note], note)
	}
}

func (c *chaos) printSizes(w io.Writer) {
	fmt.Fprintln(w, "\nmemory (MiB) and descriptors, after the warm-up and in the end")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(c.after.rss)) {
		fmt.Fprintf(table, "  %s\t%.1f\t%.1f\t%d\t%d\n", name,
			c.before.rss[name]/(1<<20), c.after.rss[name]/(1<<20), c.before.fds[name], c.after.fds[name])
	}
	_ = table.Flush()
}

// printRules prints each promise and how often it was broken, and then how.
func (c *chaos) printRules(w io.Writer, t *tally) (broken int) {
	for i, v := range t.violations {
		fmt.Fprintf(w, "\n%d. %s: %s\n", i+1, v.rule, v.what)
	}
	fmt.Fprintln(w)
	for _, rule := range rules() {
		n := t.broken[rule]
		word := "ok  "
		if n > 0 {
			word = "FAIL"
		}
		fmt.Fprintf(w, "%s %s: broken %d times\n", word, rule, n)
		broken += n
	}
	fmt.Fprintf(w, "chaos: seed %d, %d violations\n", c.seed, broken)
	return broken
}

func (c *chaos) writeJSON(t *tally) error {
	out, err := json.MarshalIndent(map[string]any{
		"seed": c.seed, "sessions": c.book.ended.Load(), "sessions_per_second": c.rate, "kills": c.book.kills,
		"causes": t.sessions, "touched": t.touched, "recorded_twice": t.twice, "not_recorded": t.lost,
		"broken": t.broken, "memory": c.after.rss, "descriptors": c.after.fds,
	}, "", "  ")
	if err == nil {
		err = os.WriteFile(c.json, append(out, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("result: %w", err)
	}
	return nil
}
