package tune

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"rpcpool.dev/workers/go/matmul"
)

// Summary is the result of a job.
type Summary struct {
	Key      string `json:"key"`
	Size     int    `json:"size"`
	Seed     uint64 `json:"seed"`   // 0: not known
	Trials   int    `json:"trials"` // that ended
	Planned  int    `json:"planned"`
	Parallel int    `json:"parallel"` // 0: not known
	// Outcomes counts trials; every outcome is there.
	Outcomes map[Outcome]int `json:"outcomes"`
	Best     *BestTrial      `json:"best,omitempty"` // absent: no valid trial
	// Baseline is the naive configuration's trial, or the first valid one if
	// that failed; SpeedUp is the best's over it.
	Baseline *BestTrial `json:"baseline,omitempty"`
	SpeedUp  float64    `json:"speedUp,omitempty"`
	// WallS is the job's time in seconds.
	WallS          float64 `json:"wallSeconds"`
	SessionsPerSec float64 `json:"sessionsPerSecond"`
	// BusyShare is the share of the servers' time that our sessions took.
	BusyShare float64 `json:"busyShare"`
	// WaitP50S and WaitMaxS are the time from asking the tracker to the open
	// session, in seconds.
	WaitP50S float64         `json:"waitP50Seconds"`
	WaitMaxS float64         `json:"waitMaxSeconds"`
	Servers  []ServerSummary `json:"servers"`
}

// BestTrial is the part of a trial that a summary tells.
type BestTrial struct {
	Trial   int           `json:"trial"`
	Config  matmul.Config `json:"config"`
	GFLOPS  float64       `json:"gflops"`
	Seconds float64       `json:"seconds"`
}

// ServerSummary is what one server did.
type ServerSummary struct {
	Server   string          `json:"server"`
	Trials   int             `json:"trials"`
	Outcomes map[Outcome]int `json:"outcomes"` // those that occurred
	// BusyShare is the share of the job's time that our sessions took.
	BusyShare float64 `json:"busyShare"`
}

// Summarise condenses trials, of a job that took wall, to the fields that
// depend on them.
func Summarise(trials []Trial, wall time.Duration) Summary {
	s := Summary{Trials: len(trials), Outcomes: map[Outcome]int{}, WallS: wall.Seconds(), Servers: []ServerSummary{}}
	for _, o := range Outcomes() {
		s.Outcomes[o] = 0
	}
	waits := make([]float64, 0, len(trials))
	servers := map[string]*ServerSummary{}
	busy := 0.0
	for _, t := range trials {
		s.Outcomes[t.Outcome]++
		waits = append(waits, t.WaitS)
		v := servers[t.Server]
		if v == nil {
			v = &ServerSummary{Server: t.Server, Outcomes: map[Outcome]int{}}
			servers[t.Server] = v
		}
		v.Trials++
		v.Outcomes[t.Outcome]++
		v.BusyShare += share(t.SessionS, s.WallS)
		busy += t.SessionS
	}
	for _, v := range servers {
		s.Servers = append(s.Servers, *v)
	}
	slices.SortFunc(s.Servers, func(a, b ServerSummary) int { return cmp.Compare(a.Server, b.Server) })
	s.SessionsPerSec = share(float64(len(trials)), s.WallS)
	s.BusyShare = share(busy, s.WallS*float64(len(servers)))
	if len(waits) > 0 {
		slices.Sort(waits)
		s.WaitP50S, s.WaitMaxS = waits[len(waits)/2], waits[len(waits)-1]
	}
	s.judge(trials)
	return s
}

// judge finds the best trial and what to compare it with.
func (s *Summary) judge(trials []Trial) {
	var best, base *Trial
	for i := range trials {
		t := &trials[i]
		if t.Outcome != OutcomeOK {
			continue
		}
		if best == nil || t.Seconds < best.Seconds {
			best = t
		}
		if base == nil || t.Index < base.Index { // the naive one has index 0
			base = t
		}
	}
	if best == nil {
		return
	}
	s.Best, s.Baseline = bestOf(best), bestOf(base)
	s.SpeedUp = base.Seconds / best.Seconds
}

func bestOf(t *Trial) *BestTrial {
	return &BestTrial{Trial: t.Index, Config: t.Config, GFLOPS: t.GFLOPS, Seconds: t.Seconds}
}

func share(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return part / whole
}

// WriteTable writes the summary for people.
func (s Summary) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "Trials:\t%d of %d", s.Trials, s.Planned)
	for _, o := range Outcomes() {
		fmt.Fprintf(t, ", %d %s", s.Outcomes[o], o)
	}
	fmt.Fprintln(t)
	if s.Best != nil {
		fmt.Fprintf(t, "Best:\t%.2f GFLOP/s, %s a product (trial %d)\n", s.Best.GFLOPS, seconds(s.Best.Seconds), s.Best.Trial)
		fmt.Fprintf(t, "Configuration:\t%v\n", s.Best.Config)
		fmt.Fprintf(t, "Speed-up:\t%.1f × over %v (%.2f GFLOP/s, trial %d)\n",
			s.SpeedUp, s.Baseline.Config, s.Baseline.GFLOPS, s.Baseline.Trial)
	} else {
		fmt.Fprintln(t, "Best:\tno valid trial")
	}
	fmt.Fprintf(t, "Time:\t%s, %.1f sessions/s, %swait p50 %s, max %s\n",
		time.Duration(s.WallS*float64(time.Second)).Round(100*time.Millisecond), s.SessionsPerSec,
		known("%d at a time, ", s.Parallel), seconds(s.WaitP50S), seconds(s.WaitMaxS))
	fmt.Fprintf(t, "Servers:\t%d, in our sessions %.0f %% of the time\n", len(s.Servers), 100*s.BusyShare)
	fmt.Fprintf(t, "Problem:\t%d×%d float32 matrices, key %s%s\n\n", s.Size, s.Size, s.Key, known(", seed %d", s.Seed))
	if err := t.Flush(); err != nil {
		return err //nolint:wrapcheck // the writer's own
	}
	if len(s.Servers) == 0 {
		return nil
	}
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "SERVER\tTRIALS\t")
	for _, o := range Outcomes() {
		fmt.Fprintf(t, "%s\t", strings.ToUpper(string(o)))
	}
	fmt.Fprintln(t, "BUSY")
	for _, v := range s.Servers {
		fmt.Fprintf(t, "%s\t%d\t", v.Server, v.Trials)
		for _, o := range Outcomes() {
			fmt.Fprintf(t, "%d\t", v.Outcomes[o])
		}
		fmt.Fprintf(t, "%.0f %%\n", 100*v.BusyShare)
	}
	return t.Flush() //nolint:wrapcheck // the writer's own
}

// known is a number in its words, or nothing if it is 0: not known.
func known[N int | uint64](words string, n N) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(words, n)
}

// seconds is a time in a unit that suits it.
func seconds(s float64) string {
	switch {
	case s < 0.001:
		return fmt.Sprintf("%.0f µs", s*1e6)
	case s < 1:
		return fmt.Sprintf("%.1f ms", s*1e3)
	default:
		return fmt.Sprintf("%.2f s", s)
	}
}
