//go:build linux

package promtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
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

	"rpcpool.dev/internal/freeports"
)

// patience bounds each wait: far beyond what a loaded machine needs.
const patience = time.Minute

// Server is a Prometheus of a test.
type Server struct{ url string }

// Start runs Prometheus until the test ends. It scrapes and evaluates every second.
func Start(t testing.TB, c Config) Server {
	t.Helper()
	c.Global = map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"}
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	Write(t, file, c)
	address := fmt.Sprintf("127.0.0.1:%d", FreePorts(t, 1))
	s := Server{"http://" + address}
	Run(t, Tool(t, "prometheus"), "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=warn")
	Await(t, "Prometheus to be ready", func() bool {
		_, err := Get(t.Context(), s.url+"/-/ready")
		return err == nil
	})
	return s
}

// Query evaluates an expression now.
func (s Server) Query(t testing.TB, expr string) Answer {
	t.Helper()
	var result struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
			Value  [2]any            `json:"value"`
		} `json:"result"`
	}
	s.ask(t, "/api/v1/query?query="+url.QueryEscape(expr), &result)
	answer := make(Answer, 0, len(result.Result))
	for _, r := range result.Result {
		v, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		answer = append(answer, Sample{r.Metric, v})
	}
	return answer
}

// Sum is the sum of an instant query.
func (s Server) Sum(t testing.TB, expr string) (sum float64) {
	t.Helper()
	for _, v := range s.Query(t, expr) {
		sum += v.Value
	}
	return sum
}

// Alerts returns the state of every alert that is pending or fires, by its name.
func (s Server) Alerts(t testing.TB) map[string]string {
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

// Tells checks that every query of the page and every recording rule says what
// happened, as soon as it has been scraped.
func (s Server) Tells(t testing.TB, story Story) {
	t.Helper()
	expressions, checks := map[string]string{}, OfQueries()
	maps.Copy(checks, OfRecords())
	for _, q := range Queries(t) {
		expressions[q.Question] = q.Expr
	}
	for _, r := range Rules(t).All() {
		if r.Record != "" {
			expressions[r.Record] = r.Record
		}
	}
	for name, expr := range expressions {
		check, ok := checks[name]
		if !ok {
			t.Errorf("nothing checks the answer to %q", name)
			continue
		}
		expr = check.Expr(expr)
		answer := s.Query(t, expr)
		for deadline := time.Now().Add(patience / 6); !check.Holds(answer, story) && time.Now().Before(deadline); answer = s.Query(t, expr) {
			time.Sleep(100 * time.Millisecond)
		}
		if !check.Holds(answer, story) {
			t.Errorf("%s\n%s\nanswer %v of %+v", name, expr, answer, story)
		}
	}
}

func (s Server) ask(t testing.TB, path string, into any) {
	t.Helper()
	body, err := Get(t.Context(), s.url+path)
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

// Get reads a page over a connection of its own.
func Get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", address, resp.Status, body)
	}
	return body, err
}

// Run runs a program until the test ends, and shows what it said if the test
// fails.
func Run(t testing.TB, program string, args ...string) {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("%s:\n%s", filepath.Base(program), text)
		}
		_ = log.Close()
	})
}

// Knock connects to a server's door and says something else than hello. It returns
// when the server has hung up.
func Knock(t testing.TB, door string) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", door)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // nobody listens
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Read(make([]byte, 1))
}

// Await waits until a condition holds.
func Await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// FreePorts returns the first of n ports of 127.0.0.1 that follow each other and are free now.
func FreePorts(t testing.TB, n int) int {
	t.Helper()
	first, err := freeports.Row(n)
	if err != nil {
		t.Fatal(err)
	}
	return first
}
