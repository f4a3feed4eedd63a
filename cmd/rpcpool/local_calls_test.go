package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rpcpool.dev/rpc"
)

// TestLocalRunsTheCallsSample: servers of native calls, each under an agent of its own; a
// crash of a worker costs the calls in it, and its server goes on.
func TestLocalRunsTheCallsSample(t *testing.T) {
	buildPrograms(t)
	first := freePorts(t, 6)
	body := sampleAt(t, "rpcpool-calls.yaml", first, "port: 9120", fmt.Sprint("port: ", first+1))
	body += "\n---\n" + strings.NewReplacer( // a pool of the same name, elsewhere
		"name: text", "name: text\n  namespace: other", "replicas: 2", "replicas: 1",
		fmt.Sprint("port: ", first+1), fmt.Sprint("port: ", first+4), fmt.Sprint("port: ", first, "}"), fmt.Sprint("port: ", first+5, "}"),
	).Replace(body)
	path := filepath.Join(t.TempDir(), "pool.yaml")
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	var stdout, stderr bytes.Buffer
	done := make(chan int, 1)
	metrics := fmt.Sprintf("127.0.0.1:%d", first+3)
	go func() {
		done <- run(ctx, []string{"rpcpool", "local", "-f", path, "--metrics", metrics, "--log-level", "error"}, &stdout, &stderr)
	}()
	wait(ctx, t, done, "ready", func() bool { return status("http://"+metrics+"/readyz") == http.StatusOK })
	for server := range 2 {
		c, err := rpc.Dial(rpc.ClientOptions{}, fmt.Sprintf("127.0.0.1:%d", first+1+server))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rpc.Call[any](ctx, c, "crash", "exit"); !errors.Is(err, rpc.Crashed) || !errors.Is(err, rpc.Indeterminate) {
			t.Errorf("server %d: a call that ends its worker: %v", server, err)
		}
		if text, err := rpc.Call[string](ctx, c, "snprintf", []any{80, "%d servers", 2}); err != nil || text != "2 servers" {
			t.Errorf("server %d: after that: %q, %v", server, text, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		want := fmt.Sprintf(`rpcpool_rpc_worker_exits_total{cause="crash-exit",namespace="default",server="text-%d"} 1`, server)
		if text := text(t, "http://"+metrics+"/metrics"); !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if page := text(t, "http://"+metrics+"/debug/rpc"); !strings.Contains(page, "server default/text-0\n0 calls run") || !strings.Contains(page, "server default/text-1\n") || !strings.Contains(page, "server other/text-0\n") {
		t.Errorf("the page of open calls is\n%s", page)
	}
	for server := range 2 { // they are found by their pool's key
		want := fmt.Sprintf(`"node":"text-%d"`, server)
		status, out, errs := execute(t, "call", "--tracker", fmt.Sprintf("127.0.0.1:%d", first), "--service", "text", "--all", "echo", "1")
		if status != exitOK || !strings.Contains(out, want) {
			t.Errorf("status %d, %q, %q; want %s", status, out, errs, want)
		}
	}
	stop()
	if got := <-done; got != exitOK {
		t.Errorf("status %d, stderr:\n%s", got, stderr.String())
	}
	if !strings.Contains(stdout.String(), "text-1  RPC       text  ") {
		t.Errorf("plan:\n%s", stdout.String())
	}
}
