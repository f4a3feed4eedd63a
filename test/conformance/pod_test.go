//go:build linux

package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rpcpool.dev/workers/go/client"
)

// sharedGroup is the fsGroup of the pods here, and the user of all containers
// but the device's.
const sharedGroup = 65532

// image is a directory with the programs as they are shipped, but for a worker
// that can misbehave, where every user can run them.
func image(t *testing.T) string {
	t.Helper()
	dir := openDir(t, 0o755)
	for program, pkg := range map[string]string{agentName: "agent", "rpcpool-sidecar": "sidecar", callsWorkerName: "calls-worker"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, program), "rpcpool.dev/cmd/"+pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, workerName), self, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// openDir is a temporary directory with a mode, below which others may look.
func openDir(t *testing.T, mode os.FileMode) string {
	t.Helper()
	parent := tempDir(t)
	dir := filepath.Join(parent, "v")
	if err := errors.Join(os.Chmod(parent, 0o755), os.Mkdir(dir, 0o700), os.Chmod(dir, mode)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// volume is an emptyDir as kubelet makes it for a pod with an fsGroup.
func volume(t *testing.T) string {
	t.Helper()
	dir := openDir(t, 0o777|os.ModeSetgid)
	if os.Getuid() == 0 {
		// Chown takes the setgid bit away.
		if err := errors.Join(os.Chown(dir, 0, sharedGroup), os.Chmod(dir, 0o777|os.ModeSetgid)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// container is a program of a pod.
type container struct {
	*exec.Cmd
	log   *lines // on stderr
	said  *lines // on stdout
	ended chan struct{}
	err   error
}

// as makes cmd run as a user with the pod's fsGroup. Where the tests are not
// run by root, every container has their user.
func as(user uint32, cmd *exec.Cmd) *exec.Cmd {
	if os.Getuid() == 0 {
		group := user
		if user != 0 && user != sharedGroup {
			group = 0 // as the container runtime does for a UID that no image knows
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: group, Groups: []uint32{sharedGroup}}}
	}
	cmd.Dir = "/"
	return cmd
}

// runContainer starts a program, which is killed at the end of the test if it
// still runs.
func runContainer(t *testing.T, user uint32, path string, args ...string) *container {
	t.Helper()
	c := &container{Cmd: as(user, exec.Command(path, args...)), log: &lines{}, said: &lines{}, ended: make(chan struct{})}
	c.Stderr, c.Stdout = c.log, c.said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		c.err = c.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		<-c.ended
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(path), c.log)
		}
	})
	return c
}

// end waits for the container's end, which must be in order.
func (c *container) end(t *testing.T) {
	t.Helper()
	select {
	case <-c.ended:
		if c.err != nil {
			t.Errorf("%s: %v", filepath.Base(c.Path), c.err)
		}
	case <-time.After(patience):
		t.Fatalf("%s does not end", filepath.Base(c.Path))
	}
}

func (c *container) terminate(t *testing.T) {
	t.Helper()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// lines is a log in JSON.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// values are those of an attribute in the records with a message.
func (l *lines) values(message, attribute string) (values []string) {
	for line := range strings.Lines(l.String()) {
		var record map[string]any
		if json.Unmarshal([]byte(line), &record) == nil && record["msg"] == message {
			values = append(values, fmt.Sprint(record[attribute]))
		}
	}
	return values
}

// devicePod is the containers of a device's pod.
type devicePod struct {
	t              *testing.T
	tr             *trackerProc
	device, server *container
	probes         string // URL
}

// startDevicePod runs a pod's containers as its kubelet does: the init container
// to its end, the native sidecar, then the device's container, as a user.
func startDevicePod(t *testing.T, image string, user uint32, drain string) *devicePod {
	t.Helper()
	p := &devicePod{t: t, tr: startTracker(t)}
	run, work := volume(t), volume(t)
	install := as(sharedGroup, exec.Command(filepath.Join(image, agentName), "install", run, workerName))
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("install: %v: %s", err, out)
	}
	socket := filepath.Join(run, "agent.sock")
	p.server = runContainer(t, sharedGroup, filepath.Join(image, "rpcpool-sidecar"),
		"--key", key, "--listen", "127.0.0.1:0", "--tracker", p.tr.addr, "--metrics", "127.0.0.1:0", "--agent-socket", socket,
		"--name", "dev-0", "--instance", "uid-0", "--drain-timeout", drain, "--kill-grace", "500ms")
	p.device = runContainer(t, user, filepath.Join(run, agentName),
		"--socket", socket, "--work-root", filepath.Join(work, "sessions"), "--drain-timeout", drain, "--log-format", "json",
		"--", filepath.Join(run, workerName))
	eventually(t, patience, "the device is offered", func() bool { return p.tr.Summary().Queue[key].Free == 1 })
	p.probes = "http://" + p.server.log.values("serving metrics", "addr")[0]
	eventually(t, patience, "it is ready", func() bool { return p.status("/readyz") == http.StatusOK })
	return p
}

func (p *devicePod) status(path string) int {
	p.t.Helper()
	status, _ := fetch(p.t, p.probes+path)
	return status
}

// stopOrders are the orders in which the containers of a pod may be told to
// stop. Kubelet's own is the first.
var stopOrders = map[string]struct {
	user uint32 // of the device's container
	stop func(p *devicePod, inSession func())
}{
	"the device's container, and the sidecar when that has ended": {0, func(p *devicePod, inSession func()) {
		p.device.terminate(p.t)
		inSession()
		p.device.end(p.t)
		p.server.terminate(p.t)
	}},
	"the sidecar, then the device's container": {12345, func(p *devicePod, inSession func()) {
		p.server.terminate(p.t)
		inSession()
		p.server.end(p.t)
		p.device.terminate(p.t)
	}},
	"both at once": {sharedGroup, func(p *devicePod, inSession func()) {
		p.device.terminate(p.t)
		p.server.terminate(p.t)
		inSession()
	}},
}

// withdrawn checks that no client gets the device any more.
func (p *devicePod) withdrawn() {
	p.t.Helper()
	eventually(p.t, patience, "nobody is offered the device", func() bool { return p.tr.Summary().Queue[key].Free == 0 })
}

// ends checks that both containers end by themselves, with the session on
// record.
func (p *devicePod) ends(cause ...string) {
	p.t.Helper()
	p.device.end(p.t)
	p.server.end(p.t)
	if got := p.server.log.values("session ended", "cause"); strings.Join(got, " ") != strings.Join(cause, " ") {
		p.t.Errorf("sessions on record: %q, want %q", got, cause)
	}
}

// A device's pod is deleted: whatever the order in which its containers are told
// so, the device is withdrawn at once, a session may finish within the drain
// time and is killed at its end, its client is told, its end is on record, and
// nobody waits for the other any longer than that. The containers share nothing
// but the pod's group.
func TestADevicePodEndsInOrder(t *testing.T) {
	t.Parallel()
	image := image(t)
	for name, order := range stopOrders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("without a session", func(t *testing.T) {
				p := startDevicePod(t, image, order.user, "1h")
				order.stop(p, p.withdrawn)
				p.ends()
			})
			t.Run("with a session that finishes", func(t *testing.T) {
				p := startDevicePod(t, image, order.user, "1h")
				session := p.tr.open(client.Options{Timeout: time.Minute})
				checkAddOne(t, session)
				order.stop(p, func() {
					eventually(t, patience, "the tracker knows", func() bool {
						servers := p.tr.Summary().Servers
						return len(servers) == 1 && servers[0].State() == "draining"
					})
					if s := p.tr.ServersOf(key); len(s) != 1 || s[0].Name != "dev-0" || s[0].Instance != "uid-0" || s[0].State != "busy" {
						t.Errorf("servers %+v, want one that is busy", s)
					}
					if ready, alive := p.status("/readyz"), p.status("/healthz"); ready != http.StatusOK || alive != http.StatusOK {
						t.Errorf("in a session: /readyz %d, /healthz %d", ready, alive)
					}
					checkAddOne(t, session)
					closeOf(t, session)
				})
				p.ends("completed")
			})
			t.Run("with a session that does not", func(t *testing.T) {
				p := startDevicePod(t, image, order.user, "1s")
				session := p.tr.open(client.Options{Timeout: time.Hour})
				checkAddOne(t, session)
				order.stop(p, func() {
					p.withdrawn()
					_, err := tryCall(session, "test.sleep", 3600.0)
					if err == nil || !strings.Contains(err.Error(), "killed-drain: ") {
						t.Errorf("client got %v, want an exception that says killed-drain", err)
					}
				})
				p.ends("killed-drain")
			})
		})
	}
}

// fetch returns the status and the text at a URL; 0: nobody answers.
func fetch(t *testing.T, url string) (status int, text string) {
	t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(url)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(body)
}
