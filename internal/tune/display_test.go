package tune

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"rpcpool.dev/workers/go/matmul"
)

func sampleProgress(done, total int) Progress {
	return Progress{
		Status: Status{
			Done: done, Total: total,
			Best:   &Trial{GFLOPS: 11.934, Config: matmul.Config{TileM: 8, TileN: 256, TileK: 128, Order: "ikj", Unroll: 8}},
			Counts: map[Outcome]int{OutcomeOK: done - 7, OutcomeCrash: 5, OutcomeTimeout: 2},
		},
		Pool:    PoolState{Known: true, Free: 1, Busy: 3},
		Elapsed: 12400 * time.Millisecond,
	}
}

func TestLogsGetPlainLines(t *testing.T) {
	var out bytes.Buffer
	d := NewDisplay(&out, 200)
	d.Update(sampleProgress(57, 200))
	want := "tune: 57/200 trials, best 11.93 GFLOP/s (8×256×128 ikj unroll 8), servers 1 free, 3 busy, 5 crashed, 2 timeout, 12s elapsed\n"
	if out.String() != want {
		t.Errorf("got  %swant %s", out.String(), want)
	}
	if d.Interval() != 2*time.Second {
		t.Errorf("a line every %s, want 2 s", d.Interval())
	}
	out.Reset()
	d.Finish(Progress{Status: Status{Total: 200}})
	if !strings.Contains(out.String(), "no valid result yet") || !strings.Contains(out.String(), "tracker silent") {
		t.Errorf("nothing known yet: %s", out.String())
	}
	if strings.ContainsAny(out.String(), "\x1b\r") {
		t.Errorf("control codes in a log: %q", out.String())
	}
}

func TestServersThatAreDownAreTold(t *testing.T) {
	p := sampleProgress(57, 200)
	p.Pool.Down = 2
	if text := poolText(p); !strings.Contains(text, "1 free, 3 busy, 2 down") {
		t.Errorf("%q", text)
	}
}

// screen is what a terminal shows after it got out: the text of its lines.
func screen(t *testing.T, out string) []string {
	t.Helper()
	lines, row, col := [][]rune{{}}, 0, 0
	escape := regexp.MustCompile(`^\x1b\[(\d*)([A-Z])`)
	for len(out) > 0 {
		if m := escape.FindStringSubmatch(out); m != nil {
			out = out[len(m[0]):]
			n := 1
			if m[1] != "" {
				n = int(m[1][0] - '0')
				for _, d := range m[1][1:] {
					n = 10*n + int(d-'0')
				}
			}
			switch m[2] {
			case "K":
				if m[1] == "2" {
					lines[row] = nil
				} else {
					lines[row] = lines[row][:min(col, len(lines[row]))]
				}
			case "F":
				row, col = row-n, 0
			case "B":
				row += n
			case "C":
				col += n
			default:
				t.Fatalf("unknown control code %q", m[0])
			}
			if row < 0 {
				t.Fatal("the cursor left the display at the top")
			}
			for row >= len(lines) {
				lines = append(lines, nil)
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(out)
		out = out[size:]
		switch r {
		case '\n':
			row, col = row+1, 0 // as terminals do it for programs
			if row == len(lines) {
				lines = append(lines, nil)
			}
		case '\r':
			col = 0
		default:
			for len(lines[row]) <= col {
				lines[row] = append(lines[row], ' ')
			}
			lines[row][col] = r
			col++
		}
	}
	text := make([]string, len(lines))
	for i, l := range lines {
		text[i] = strings.TrimRight(string(l), " ")
	}
	return text
}

func TestTerminalsGetABarAndALine(t *testing.T) {
	for _, width := range []int{80, 200} {
		var out bytes.Buffer
		b := newBar(&out, 200, func() int { return width })
		for done := 10; done <= 200; done += 10 {
			b.Update(sampleProgress(done, 200))
			for _, l := range screen(t, out.String()) {
				if n := utf8.RuneCountInString(l); n > width {
					t.Fatalf("width %d: a line of %d columns: %q", width, n, l)
				}
			}
		}
		b.Finish(sampleProgress(200, 200))
		lines := screen(t, out.String())
		if len(lines) < 3 || !strings.Contains(lines[0], "100%") || !strings.Contains(lines[0], "(200/200") {
			t.Fatalf("width %d: the bar is not full:\n%s", width, strings.Join(lines, "\n"))
		}
		if !strings.HasPrefix(lines[1], "best 11.93 GFLOP/s (8×256×128 ikj unroll 8)") {
			t.Errorf("width %d: no best below the bar: %q", width, lines[1])
		}
		if width == 200 && !strings.Contains(lines[1], "servers 1 free, 3 busy, 5 crashed") {
			t.Errorf("no servers below the bar: %q", lines[1])
		}
		if last := lines[len(lines)-1]; last != "" {
			t.Errorf("width %d: the cursor is not on an empty line: %q", width, last)
		}
	}
}

func TestAnInterruptedBarStaysReadable(t *testing.T) {
	var out bytes.Buffer
	b := newBar(&out, 200, func() int { return 120 })
	b.Update(sampleProgress(57, 200))
	b.Finish(sampleProgress(58, 200))
	out.WriteString("Trials: 58")
	lines := screen(t, out.String())
	if len(lines) != 3 || !strings.Contains(lines[0], "(58/200") || !strings.HasPrefix(lines[1], "best") || lines[2] != "Trials: 58" {
		t.Errorf("screen:\n%s", strings.Join(lines, "\n"))
	}
}

func TestShowUpdatesUntilTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := &countingDisplay{stop: cancel}
	Show(ctx, d, func() Progress { return sampleProgress(57, 200) })
	if d.updates < 3 || d.finishes != 1 {
		t.Errorf("%d updates, %d ends, want 3 and 1", d.updates, d.finishes)
	}
}

type countingDisplay struct {
	updates, finishes int
	stop              func()
}

func (d *countingDisplay) Interval() time.Duration { return time.Millisecond }
func (d *countingDisplay) Finish(Progress)         { d.finishes++ }
func (d *countingDisplay) Update(Progress) {
	if d.updates++; d.updates == 3 {
		d.stop()
	}
}

func TestClip(t *testing.T) {
	for _, tc := range []struct {
		text  string
		width int
		want  string
	}{
		{"8×256", 5, "8×256"}, {"8×256", 4, "8×2…"}, {"8×256", 1, "…"}, {"", 3, ""},
	} {
		if got := clip(tc.text, tc.width); got != tc.want {
			t.Errorf("clip(%q, %d) = %q, want %q", tc.text, tc.width, got, tc.want)
		}
	}
}
