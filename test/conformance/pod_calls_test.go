//go:build linux

package conformance

import (
	"context"
	"errors"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/rpc"
)

const callsWorkerName = "rpcpool-calls-worker"

// callsPod is the containers of a pod that serves native calls.
type callsPod struct {
	t               *testing.T
	image, run      string
	work, drain     string
	flags           []string // more of the sidecar's
	user            uint32
	device, server  *container
	probes, address string
}

// startCallsPod runs a pod's containers as its kubelet does. The flags are the sidecar's.
func startCallsPod(t *testing.T, image string, user uint32, drain string, flags ...string) *callsPod {
	t.Helper()
	p := &callsPod{t: t, image: image, run: volume(t), work: volume(t), drain: drain, flags: flags, user: user, address: "127.0.0.1:0"}
	install := as(sharedGroup, exec.Command(filepath.Join(image, agentName), "install", p.run, callsWorkerName))
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("install: %v: %s", err, out)
	}
	p.startServer()
	p.startDevice()
	p.ready()
	return p
}

func (p *callsPod) startServer() {
	p.t.Helper()
	p.server = runContainer(p.t, sharedGroup, filepath.Join(p.image, "rpcpool-sidecar"), append([]string{
		"--protocol", "rpc", "--listen", p.address, "--metrics", "127.0.0.1:0", "--agent-socket", filepath.Join(p.run, "agent.sock"),
		"--accumulators", "unix:" + filepath.Join(p.run, "accumulators.sock"),
		"--journal", filepath.Join(p.run, "calls"), "--journal-size", "1048576", "--drain-timeout", p.drain, "--kill-grace", "500ms",
	}, p.flags...)...)
	eventually(p.t, patience, "it says where it serves", func() bool { return strings.HasSuffix(p.server.said.String(), "\n") })
	p.address = strings.TrimSpace(strings.TrimPrefix(p.server.said.String(), "serving calls on "))
	eventually(p.t, patience, "it says where its metrics are", func() bool { return len(p.server.log.values("serving metrics", "addr")) == 1 })
	p.probes = "http://" + p.server.log.values("serving metrics", "addr")[0]
}

func (p *callsPod) startDevice() {
	p.t.Helper()
	p.device = runContainer(p.t, p.user, filepath.Join(p.run, agentName),
		"--socket", filepath.Join(p.run, "agent.sock"), "--work-root", filepath.Join(p.work, "sessions"), "--drain-timeout", p.drain,
		"--log-format", "json", "--", filepath.Join(p.run, callsWorkerName))
}

func (p *callsPod) ready() {
	p.t.Helper()
	eventually(p.t, patience, "it is ready", func() bool { return p.status("/readyz") == http.StatusOK })
}

// client is one of the pod's server.
func (p *callsPod) client() *rpc.Client {
	p.t.Helper()
	c, err := rpc.Dial(rpc.ClientOptions{}, p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close() })
	return c
}

// begin makes a call that sleeps, and returns when it runs.
func (p *callsPod) begin(c *rpc.Client, sleep time.Duration) (end <-chan error) {
	p.t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := rpc.Call[any](p.t.Context(), c, "sleep", sleep.Seconds())
		ended <- err
	}()
	eventually(p.t, patience, "the call runs", func() bool {
		return strings.Contains(p.metrics(), "\nrpcpool_rpc_running 1\n")
	})
	return ended
}

func (p *callsPod) status(path string) int {
	p.t.Helper()
	status, _ := fetch(p.t, p.probes+path)
	return status
}

func (p *callsPod) metrics() string {
	_, text := fetch(p.t, p.probes+"/metrics")
	return text
}

// formatted is a call that takes no time.
func formatted(ctx context.Context, c *rpc.Client) error {
	text, err := rpc.Call[string](ctx, c, "snprintf", []any{80, "%d", 42})
	if err == nil && text != "42" {
		return errors.New(text)
	}
	return err
}

// callOrders are the orders of [stopOrders]; during runs while the pod ends.
var callOrders = map[string]func(p *callsPod, during func()){
	"the device's container, and the sidecar when that has ended": func(p *callsPod, during func()) {
		p.device.terminate(p.t)
		during()
		p.device.end(p.t)
		p.server.terminate(p.t)
	},
	"the sidecar, then the device's container": func(p *callsPod, during func()) {
		p.server.terminate(p.t)
		during()
		p.server.end(p.t)
		p.device.terminate(p.t)
	},
	"both at once": func(p *callsPod, during func()) {
		p.device.terminate(p.t)
		p.server.terminate(p.t)
		during()
	},
}

// A pod of native calls is deleted: whatever the order in which its containers are told
// so, no new call is taken, those that run may end within the drain time and are killed
// at its end, their callers are told the truth, and nobody waits any longer than that.
func TestAPodOfCallsEndsInOrder(t *testing.T) {
	t.Parallel()
	image := image(t)
	for name, stop := range callOrders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user := stopOrders[name].user
			t.Run("with a call that ends", func(t *testing.T) {
				p := startCallsPod(t, image, user, "1h")
				c := p.client()
				ended := p.begin(c, time.Second)
				stop(p, func() {
					eventually(t, patience, "it takes no more calls", func() bool {
						ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
						defer cancel()
						err := formatted(ctx, p.client())
						return errors.Is(err, rpc.NotExecuted)
					})
					if err := <-ended; err != nil {
						t.Errorf("the call that ran: %v", err)
					}
				})
				p.device.end(t)
				p.server.end(t)
			})
			t.Run("with a call that does not", func(t *testing.T) {
				p := startCallsPod(t, image, user, "1s")
				ended := p.begin(p.client(), time.Hour)
				stop(p, func() {
					if err := <-ended; !errors.Is(err, rpc.Indeterminate) {
						t.Errorf("the call was told %v, want that it may have run", err)
					}
				})
				p.device.end(t)
				p.server.end(t)
			})
		})
	}
}

// The container of the device crashes under a call, and is started anew: the caller is
// told that the call may have run, and the next one does, of the same client.
func TestAPodOfCallsOutlivesItsDevicesContainer(t *testing.T) {
	t.Parallel()
	p := startCallsPod(t, image(t), 12345, "1h")
	c := p.client()
	if err := formatted(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "what its worker counts is in the metrics", func() bool {
		return strings.Contains(p.metrics(), "\n"+`rpcpool_accumulator_builtin_calls_total{method="snprintf"} 1`)
	})
	ended := p.begin(c, time.Hour)
	if err := p.device.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, rpc.Crashed) || !errors.Is(err, rpc.Indeterminate) {
		t.Errorf("%v, want a crash of a call that may have run", err)
	}
	<-p.device.ended
	eventually(t, patience, "it is not ready", func() bool { return p.status("/readyz") != http.StatusOK })
	p.startDevice()
	p.ready()
	if err := formatted(t.Context(), c); err != nil {
		t.Errorf("in the next container: %v", err)
	}
}

// The sidecar crashes, and its next life has the table of calls: of a call that ran, its
// client is told that it may have run, and what it calls next runs.
func TestAPodOfCallsOutlivesItsSidecar(t *testing.T) {
	t.Parallel()
	p := startCallsPod(t, image(t), sharedGroup, "1h")
	c := p.client()
	if err := formatted(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	ended := p.begin(c, time.Hour)
	if err := p.server.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.server.ended
	p.startServer()
	p.ready()
	if err := <-ended; !errors.Is(err, rpc.Indeterminate) {
		t.Errorf("%v, want that the call may have run", err)
	}
	if err := formatted(t.Context(), c); err != nil {
		t.Errorf("in the server's next life: %v", err)
	}
	if text := p.metrics(); !strings.Contains(text, `rpcpool_rpc_workers{state="ready"} 1`) {
		t.Errorf("workers of the earlier life are left, or none is there:\n%s", text)
	}
}
