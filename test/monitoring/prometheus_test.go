//go:build linux

package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// patience bounds each wait: far beyond what a loaded machine needs.
const patience = time.Minute

// sample is a value of an instant query.
type sample struct {
	Labels map[string]string
	Value  float64
}

// server is a Prometheus of this test.
type server struct{ url string }

// startPrometheus runs Prometheus with the rules, every second, and scrapes a
// pool and an operator as docs/monitoring.md says.
func startPrometheus(t *testing.T, pool, operator string) server {
	t.Helper()
	rules, err := filepath.Abs(rulesPath)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf(`global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
- job_name: rpcpool
  static_configs: [{targets: [%q]}]
- job_name: rpcpool-operator
  honor_labels: true
  static_configs: [{targets: [%q], labels: {namespace: rpcpool-system}}]
`, rules, pool, operator)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1))
	start(t, exec.Command(tool(t, "prometheus"), "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=warn"))
	s := server{"http://" + address}
	await(t, "Prometheus to be ready", func() bool {
		_, err := get(t.Context(), s.url+"/-/ready")
		return err == nil
	})
	return s
}

// query evaluates an expression now.
func (s server) query(t *testing.T, expr string) []sample {
	t.Helper()
	var answer struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
			Value  [2]any            `json:"value"`
		} `json:"result"`
	}
	s.ask(t, "/api/v1/query?query="+url.QueryEscape(expr), &answer)
	samples := make([]sample, 0, len(answer.Result))
	for _, r := range answer.Result {
		v, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		samples = append(samples, sample{r.Metric, v})
	}
	return samples
}

// sum is the sum of an instant query.
func (s server) sum(t *testing.T, expr string) (sum float64) {
	t.Helper()
	for _, v := range s.query(t, expr) {
		sum += v.Value
	}
	return sum
}

// alerts returns the state of every alert that is pending or fires.
func (s server) alerts(t *testing.T) map[string]string {
	t.Helper()
	var answer struct {
		Alerts []struct {
			Labels map[string]string `json:"labels"`
			State  string            `json:"state"`
		} `json:"alerts"`
	}
	s.ask(t, "/api/v1/alerts", &answer)
	states := map[string]string{}
	for _, a := range answer.Alerts {
		states[a.Labels["alertname"]] = a.State
	}
	return states
}

func (s server) ask(t *testing.T, path string, into any) {
	t.Helper()
	body, err := get(t.Context(), s.url+path)
	if err != nil {
		t.Fatal(err)
	}
	envelope := struct {
		Data any `json:"data"`
	}{into}
	if err := json.Unmarshal(body, &envelope); err != nil {
		t.Fatalf("%s: %v in %s", path, err, body)
	}
}

func get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", address, resp.Status, body)
	}
	return body, err
}

// start runs a program until the test ends, and shows what it said if the test
// fails.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("%s:\n%s", filepath.Base(cmd.Path), text)
		}
		_ = log.Close()
	})
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// freePorts finds ports of 127.0.0.1 that follow each other and are free now,
// below those that the kernel gives to clients.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	const low, high = 12000, 30000
	for first := low + os.Getpid()%(high-low-1000); first < high; first += n {
		if free(first, n) {
			return first
		}
	}
	t.Fatalf("no %d free ports in a row", n)
	return 0
}

func free(first, n int) bool {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}
