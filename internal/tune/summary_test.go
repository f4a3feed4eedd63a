package tune

import (
	"encoding/json"
	"flag"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rpcpool.dev/workers/go/matmul"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sampleTrials is a small job of 10 s on two servers, every outcome once.
func sampleTrials() []Trial {
	start := sampleStart
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	trial := func(i int, o Outcome, server string, from, wait, session, gf float64) Trial {
		tr := Trial{
			Index: i, Phase: PhaseRandom, Outcome: o, Server: server, WaitS: wait, SessionS: session,
			Config:  matmul.Config{TileM: 8, TileN: 16, TileK: 32 + i, Order: "ikj", Unroll: 4},
			Started: at(from), Ended: at(from + wait + session),
		}
		if o == OutcomeOK {
			tr.GFLOPS, tr.Seconds = gf, 2*256*256*256/gf/1e9
		}
		return tr
	}
	trials := []Trial{
		trial(1, OutcomeCrash, "10.0.0.2:9090", 0, 0.1, 0.4, 0),
		trial(0, OutcomeOK, "10.0.0.1:9090", 0, 0.2, 1.8, 2),
		trial(2, OutcomeOK, "10.0.0.2:9090", 0.5, 0, 3.5, 6),
		trial(3, OutcomeTimeout, "10.0.0.1:9090", 2, 0.5, 2.5, 0),
		trial(4, OutcomeWrong, "10.0.0.2:9090", 4, 0.3, 1.7, 0),
		trial(5, OutcomeError, "10.0.0.2:9090", 6, 0, 1, 0),
		trial(6, OutcomeOK, "10.0.0.1:9090", 5, 0, 5, 5),
	}
	trials[1].Phase, trials[1].Config = PhaseBaseline, matmul.Naive()
	return trials
}

var sampleStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func sampleSummary() Summary {
	s := Summarise(sampleTrials(), 10*time.Second)
	s.Key, s.Size, s.Seed, s.Planned, s.Parallel = "cpu", 256, 7, 7, 2
	return s
}

func TestSummaryAddsUp(t *testing.T) {
	s := sampleSummary()
	for _, o := range Outcomes() {
		want := 1
		if o == OutcomeOK {
			want = 3
		}
		if s.Outcomes[o] != want {
			t.Errorf("%d %s, want %d", s.Outcomes[o], o, want)
		}
	}
	if s.Best == nil || s.Best.Trial != 2 || s.Baseline.Trial != 0 || math.Abs(s.SpeedUp-3) > 1e-9 {
		t.Errorf("best %+v over %+v: %g, want trial 2, thrice as fast as trial 0", s.Best, s.Baseline, s.SpeedUp)
	}
	if got := s.SessionsPerSec; math.Abs(got-0.7) > 1e-9 {
		t.Errorf("%g sessions/s, want 0.7", got)
	}
	if want := 15.9 / 20; math.Abs(s.BusyShare-want) > 1e-9 {
		t.Errorf("busy %g, want 15.9 s of 2 × 10 s", s.BusyShare)
	}
	if len(s.Servers) != 2 || s.Servers[0].Server != "10.0.0.1:9090" || s.Servers[0].Trials != 3 || s.Servers[1].Trials != 4 {
		t.Errorf("servers %+v", s.Servers)
	}
	if s.WaitP50S != 0.1 || s.WaitMaxS != 0.5 {
		t.Errorf("wait p50 %g, max %g, want 0.1 and 0.5", s.WaitP50S, s.WaitMaxS)
	}
}

func TestBaselineIsTheFirstValidTrialIfTheNaiveOneFailed(t *testing.T) {
	trials := sampleTrials()
	trials[1].Outcome = OutcomeCrash
	s := Summarise(trials, time.Second)
	if s.Baseline.Trial != 2 || s.SpeedUp != 1 {
		t.Errorf("baseline %+v, speed-up %g, want trial 2, which is also the best", s.Baseline, s.SpeedUp)
	}
}

func TestSummaryOfNothing(t *testing.T) {
	s := Summarise(nil, 0)
	if s.Best != nil || s.BusyShare != 0 || s.SessionsPerSec != 0 {
		t.Errorf("summary %+v", s)
	}
	text, err := json.Marshal(s)
	if err != nil || !strings.Contains(string(text), `"servers":[]`) {
		t.Errorf("%s, %v: want an empty list of servers", text, err)
	}
	var table strings.Builder
	if err := s.WriteTable(&table); err != nil || !strings.Contains(table.String(), "no valid trial") {
		t.Errorf("%s, %v", table.String(), err)
	}
}

func TestSummaryTable(t *testing.T) {
	var got strings.Builder
	if err := sampleSummary().WriteTable(&got); err != nil {
		t.Fatal(err)
	}
	golden(t, "summary.txt", got.String())
}

func TestSummaryAsDataKeepsItsNames(t *testing.T) {
	text, err := json.Marshal(sampleSummary())
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"baseline", "best", "busyShare", "key", "outcomes", "parallel", "planned", "seed", "servers",
		"sessionsPerSecond", "size", "speedUp", "trials", "waitMaxSeconds", "waitP50Seconds", "wallSeconds",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(fields))); diff != "" {
		t.Errorf("scripts read these fields:\n%s", diff)
	}
	var back Summary
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleSummary(), back); diff != "" {
		t.Errorf("something got lost:\n%s", diff)
	}
}

// golden compares with a file in testdata; -update writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s:\n%s", path, diff)
	}
}
