//go:build linux

package monitoring

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rpcpool.dev/internal/tune"
	"rpcpool.dev/test/internal/proc"
)

const (
	servers   = 2
	parallel  = 4 // more than there are servers, so that requests wait
	trials    = 60
	strangers = 3 // who knock at a server's door and do not speak its protocol
)

// TestQueriesAnswerWhatHappened: a pool of real processes is scraped while a
// tuning job crashes its workers. Every query of the page then tells what the
// job saw, every recording rule has a value, and no alert fires.
func TestQueriesAnswerWhatHappened(t *testing.T) {
	bin, err := proc.FindPrograms(t.Context(), t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pool := startPool(t, bin)
	prometheus := startPrometheus(t, pool.metrics, serveOperator(t))
	await(t, "both targets to be scraped", func() bool { return prometheus.sum(t, "up") == 2 })
	for range strangers {
		knock(t, pool.door)
	}
	job := runJob(t, bin, pool.tracker)
	await(t, "all sessions to be scraped", func() bool { return prometheus.sum(t, "rpcpool_session_ends_total") == trials })

	for _, q := range queries(t) {
		check, ok := checks[q.question]
		if !ok {
			t.Errorf("nothing checks the answer to %q", q.question)
			continue
		}
		if check.peak {
			q.expr = "max_over_time((" + q.expr + ")[5m:1s])"
		}
		if got := prometheus.query(t, q.expr); !check.holds(answer(got), job) {
			t.Errorf("%s\n%s\nanswer %v of a job with %+v", q.question, q.expr, got, job)
		}
	}
	for _, r := range rules(t) {
		if r.Record != "" {
			await(t, r.Record, func() bool { return len(prometheus.query(t, r.Record)) > 0 })
		}
	}
	want := map[string]string{"RPCPoolChangeStuck": "pending"} // by the operator's rollout; it takes 6 hours to fire
	await(t, fmt.Sprintf("alerts to be %v", want), func() bool { return cmp.Equal(want, prometheus.alerts(t)) })
}

// pool are the addresses of one that runs.
type pool struct{ tracker, metrics, door string }

func startPool(t *testing.T, bin string) pool {
	t.Helper()
	first := freePorts(t, servers+2)
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
	start(t, exec.Command(filepath.Join(bin, proc.CLI), "local", "-f", manifest, "--metrics", p.metrics, "--log-level", "warn"))
	await(t, "the pool to be ready", func() bool {
		_, err := get(t.Context(), "http://"+p.metrics+"/readyz")
		return err == nil
	})
	return p
}

// knock connects to a server and says something else than hello. It returns when
// the server has hung up.
func knock(t *testing.T, door string) {
	t.Helper()
	c, err := net.Dial("tcp", door)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Read(make([]byte, 1))
}

// runJob tunes at random, so that some trials crash and some take too long, and
// returns what the job saw.
func runJob(t *testing.T, bin, tracker string) tune.Summary {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, proc.CLI), "tune", "--tracker", tracker, "--key", "cpu",
		"--trials", fmt.Sprint(trials), "--warmup", fmt.Sprint(trials), "--parallel", fmt.Sprint(parallel),
		"--size", "384", "--min-time", "20ms", "--timeout", "1s", "--seed", "7", "-o", "json")
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
