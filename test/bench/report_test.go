//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRowsAreJudgedByTheirTarget(t *testing.T) {
	slow, fast := &sample{}, &sample{}
	slow.add(25 * time.Microsecond)
	fast.add(10 * time.Microsecond)
	cases := map[string]struct {
		row  *row
		want bool
	}{
		"a ratio at the limit is met":          {latencies("f", slow).above(fast, "raw").atMost(ofRatio, 2.5), true},
		"a ratio above it is missed":           {latencies("f", slow).above(fast, "raw").atMost(ofRatio, 2.4), false},
		"a ratio without a floor is missed":    {latencies("f", slow).atMost(ofRatio, 2.4), false},
		"a rate above its least is met":        {number("f", perSecond, 30000).atLeast(ofValue, 20000), true},
		"a rate below it is missed":            {number("f", perSecond, 19999).atLeast(ofValue, 20000), false},
		"nothing left over meets a limit of 0": {number("f", count, 0).atMost(ofValue, 0), true},
		"one thing left over misses it":        {number("f", count, 1).atMost(ofValue, 0), false},
		"a figure without values is missed":    {latencies("f", &sample{}).atMost(ofP50, 1), false},
		"p99 is judged by p99":                 {latencies("f", sampleOf(100)).atMost(ofP99, 98), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := newReport()
			r.add("s", tc.row)
			if met := !tc.row.missed(); met != tc.want {
				t.Errorf("%v: met is %v, want %v", tc.row.cells(), met, tc.want)
			}
			if got := r.missed() == 0; got != tc.want {
				t.Errorf("report misses %d rows", r.missed())
			}
		})
	}
}

func TestRowWithoutATargetIsNotJudged(t *testing.T) {
	r := newReport()
	r.add("s", number("f", count, 7))
	if r.Rows[0].Met != nil || r.missed() != 0 {
		t.Errorf("row is %+v", r.Rows[0])
	}
}

func TestReportKeepsLosingRowsInEveryForm(t *testing.T) {
	r := newReport()
	r.add("grant", latencies("REQUEST to grant", sampleOf(1000)).aboveNumber(250, "raw").atMost(ofRatio, 1).noted("by %s", "hand"))
	var table bytes.Buffer
	if err := r.table(&table); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a", "report.json")
	if err := r.writeJSON(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Rows) != 1 || !back.Rows[0].missed() || back.Rows[0].Ratio != 2 || *back.Rows[0].Value.P999 != 999 {
		t.Errorf("JSON has %s", text)
	}
	for form, text := range map[string]string{"table": table.String(), "markdown": string(r.markdown())} {
		for _, want := range []string{"REQUEST to grant", "500 s", "999 s", "≤ 1 × floor", "NO", "by hand"} {
			if !strings.Contains(text, want) {
				t.Errorf("the %s lacks %q:\n%s", form, want, text)
			}
		}
	}
}

func TestFiguresOfADocumentAreReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("a\n"+figuresBegin+"old\n"+figuresEnd+"b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, figures := range []string{"new\n", "newer\n"} {
		if err := refreshFigures(path, []byte(figures)); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if want := "a\n" + figuresBegin + figures + figuresEnd + "b\n"; err != nil || string(text) != want {
			t.Errorf("document is %q, %v, want %q", text, err, want)
		}
	}
	for _, bad := range []string{"", figuresBegin, figuresEnd + figuresBegin} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if refreshFigures(path, nil) == nil {
			t.Errorf("a document without marks is refreshed: %q", bad)
		}
	}
}

func TestFloorsAreExplainedOnce(t *testing.T) {
	r := newReport()
	for _, figure := range []string{"a", "b"} {
		r.add("one", number(figure, count, 1).aboveNumber(1, "the same"))
		r.add("two", number(figure, count, 1).aboveNumber(1, "floor of "+figure).noted("remark on %s", figure))
	}
	slices.SortStableFunc(r.Rows, func(a, b *row) int { return strings.Compare(a.Scenario, b.Scenario) })
	want := []string{
		"one: floor of all: the same",
		"two: floor of a: floor of a", "two: floor of b: floor of b",
		"two: a: remark on a", "two: b: remark on b",
	}
	if got := r.notes(); !slices.Equal(got, want) {
		t.Errorf("notes are %q, want %q", got, want)
	}
}

func TestNumbersAreReadable(t *testing.T) {
	cases := []struct {
		unit unit
		v    float64
		want string
	}{
		{seconds, 41.23e-6, "41.2 µs"},
		{seconds, 2.5e-3, "2.5 ms"},
		{seconds, 1.25, "1.25 s"},
		{seconds, -3e-3, "-3 ms"},
		{perSecond, 1234567, "1,234,567/s"},
		{perSecond, 999, "999/s"},
		{bytesUnit, 16384, "16 KiB"},
		{share, 0.0423, "4.23 %"},
		{times, 1.5, "1.5"},
		{count, 0, "0"},
	}
	for _, tc := range cases {
		if got := tc.unit.text(tc.v); got != tc.want {
			t.Errorf("%v %s is printed as %q, want %q", tc.v, tc.unit, got, tc.want)
		}
	}
}
