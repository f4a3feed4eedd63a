//go:build linux

package monitoring

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rpcpool.dev/internal/tune"
	"rpcpool.dev/sidecar/supervise"
	"rpcpool.dev/test/internal/proc"
	"rpcpool.dev/test/internal/promtest"
)

const (
	servers   = 2
	parallel  = 4 // more than there are servers, so that requests wait
	trials    = 60
	timeout   = 1 // seconds, of a trial
	strangers = 3 // who knock at a server's door and do not speak its protocol
)

// TestQueriesAnswerWhatHappened: a pool of real processes is scraped while a
// tuning job crashes its workers. Every query of the page and every recording rule
// then tells what the job saw, and no alert fires.
func TestQueriesAnswerWhatHappened(t *testing.T) {
	bin, err := proc.FindPrograms(t.Context(), t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pool := startPool(t, bin)
	prometheus := startPrometheus(t, pool.metrics, serveOperator(t))
	promtest.Await(t, "both targets to be scraped", func() bool { return prometheus.Sum(t, "up") == 2 })
	since := time.Now()
	for range strangers {
		promtest.Knock(t, pool.door)
	}
	story := storyOf(runJob(t, bin, pool.tracker), since)
	promtest.Await(t, "all sessions to be scraped", func() bool { return prometheus.Sum(t, "rpcpool_session_ends_total") == trials })

	prometheus.Tells(t, story)
	want := map[string]string{"RPCPoolChangeStuck": "pending"} // by the operator's rollout; it takes 6 hours to fire
	promtest.Await(t, fmt.Sprintf("alerts to be %v", want), func() bool { return cmp.Equal(want, prometheus.Alerts(t)) })
}

// startPrometheus scrapes a pool and an operator as docs/monitoring.md says.
func startPrometheus(t *testing.T, pool, operator string) promtest.Server {
	t.Helper()
	rules, err := filepath.Abs(promtest.RulesPath)
	if err != nil {
		t.Fatal(err)
	}
	at := func(address string, labels map[string]string) []any {
		return []any{map[string]any{"targets": []string{address}, "labels": labels}}
	}
	return promtest.Start(t, promtest.Config{Rules: []string{rules}, Jobs: []promtest.Job{
		{"job_name": "rpcpool", "static_configs": at(pool, nil)},
		{"job_name": "rpcpool-operator", "honor_labels": true, "static_configs": at(operator, map[string]string{"namespace": "rpcpool-system"})},
	}})
}

// storyOf is what a job saw, of the pool that it had and the operator's two.
func storyOf(job tune.Summary, since time.Time) promtest.Story {
	const shortest, longest = 0.001, timeout + 5 // seconds; killing takes its time
	return promtest.Story{
		Key: "cpu", Servers: servers, Since: since,
		Devices: map[string]map[string]float64{"": {
			string(supervise.CauseCompleted):   float64(job.Outcomes[tune.OutcomeOK] + job.Outcomes[tune.OutcomeWrong]),
			string(supervise.CauseCrashSignal): float64(job.Outcomes[tune.OutcomeCrash]),
			string(supervise.CauseTimeout):     float64(job.Outcomes[tune.OutcomeTimeout]),
		}},
		Late:   0.1 * trials, // on a busy machine
		Length: promtest.Range{shortest, longest}, Longest: promtest.Range{shortest, longest},
		Busy:   promtest.Range{0.3 * servers * job.WallS, 1.2 * servers * job.WallS},
		Waited: job.WaitMaxS, Queued: parallel, Strangers: strangers,
		PoolNamespace: "tuning",
		Pools: map[string]promtest.Pool{
			"whole": {Offered: 2, Used: 0.5},
			"rolls": {NotReady: true, Offered: 1, Missing: 1, Used: 1, Draining: 1},
		},
	}
}

// pool are the addresses of one that runs.
type pool struct{ tracker, metrics, door string }

func startPool(t *testing.T, bin string) pool {
	t.Helper()
	first := promtest.FreePorts(t, servers+2)
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", first+i) }
	p := pool{tracker: at(0), metrics: at(1), door: at(2)}
	manifest := filepath.Join(t.TempDir(), "pool.yaml")
	text := fmt.Sprintf(`apiVersion: rpcpool.dev/v1alpha1
kind: RPCPool
metadata: {name: cpu}
spec:
  replicas: %d
  tracker: {port: %d}
  server: {port: %d, command: [%q], sessionTimeout: {default: 30s, max: 1m}}
`, servers, first, first+2, filepath.Join(bin, proc.Worker))
	if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	promtest.Run(t, filepath.Join(bin, proc.CLI), "local", "-f", manifest, "--metrics", p.metrics, "--log-level", "warn")
	promtest.Await(t, "the pool to be ready", func() bool {
		_, err := promtest.Get(t.Context(), "http://"+p.metrics+"/readyz")
		return err == nil
	})
	return p
}

// runJob tunes at random, so that some trials crash and some take too long, and
// returns what the job saw.
func runJob(t *testing.T, bin, tracker string) tune.Summary {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, proc.CLI), "tune", "--tracker", tracker, "--key", "cpu",
		"--trials", fmt.Sprint(trials), "--warmup", fmt.Sprint(trials), "--parallel", fmt.Sprint(parallel),
		"--size", "384", "--min-time", "20ms", "--timeout", fmt.Sprintf("%ds", timeout), "--seed", "7", "-o", "json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tune: %v\n%s", err, &stderr)
	}
	var job tune.Summary
	if err := json.Unmarshal(out, &job); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if job.Trials != trials || job.Outcomes[tune.OutcomeError] > 0 || job.Outcomes[tune.OutcomeCrash] == 0 {
		t.Fatalf("the job is not what is to be seen: %+v\n%s", job, &stderr)
	}
	return job
}
