package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxNodes is what the address plan has room for.
const maxNodes = 9

// readyTimeout bounds everything that `up` waits for. It takes some ten seconds
// on an idle machine.
const readyTimeout = 3 * time.Minute

// spec is what a cluster was asked for.
type spec struct {
	Nodes   int    `json:"nodes"`
	Control string `json:"control"` // directory of etcd, kube-apiserver and kube-controller-manager
	Node    string `json:"node"`    // directory of kubelet, kube-proxy, kube-scheduler, kubectl and coredns
	Runtime string `json:"runtime"` // directory of containerd, its shim and ctr
}

// cluster is one cluster, by the directory of its state.
type cluster struct {
	dir  string
	out  io.Writer
	spec spec
}

func (c *cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.dir}, elements...)...)
}

// say tells whoever waits what is being done, since when.
func (c *cluster) say(began time.Time, format string, args ...any) {
	fmt.Fprintf(c.out, "%5.1f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}

// read reads what the cluster was asked for.
func (c *cluster) read() error {
	text, err := os.ReadFile(c.path("cluster.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no cluster in %s", c.dir)
	} else if err != nil {
		return fmt.Errorf("read the cluster's state: %w", err)
	}
	if err := json.Unmarshal(text, &c.spec); err != nil {
		return fmt.Errorf("read %s: %w", c.path("cluster.json"), err)
	}
	return nil
}

// adopt takes over what was asked for before: nodes can be added, programs cannot
// be changed while they run.
func (c *cluster) adopt() error {
	old := &cluster{dir: c.dir}
	if _, err := os.Stat(c.path("cluster.json")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := old.read(); err != nil {
		return err
	}
	asked := c.spec
	if asked.Nodes = old.spec.Nodes; asked != old.spec {
		return fmt.Errorf("the cluster in %s runs programs of another version: end it first, by `make cluster-down`", c.dir)
	}
	c.spec.Nodes = max(c.spec.Nodes, old.spec.Nodes)
	return nil
}

// write keeps what was asked for, and this program, which the machines run.
func (c *cluster) write() error {
	if err := os.MkdirAll(c.path("images"), 0o755); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if self != c.path("cluster") {
		if err := copyFile(self, c.path("cluster"), 0o755); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(c.spec, "", "  ")
	if err != nil {
		return fmt.Errorf("state of the cluster: %w", err)
	}
	return os.WriteFile(c.path("cluster.json"), append(text, '\n'), 0o644)
}

// check says in one message why this machine cannot do it.
func (c *cluster) check() error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("it takes root on Linux; `make e2e KUBECONFIG=…` runs the tests on any other cluster")
	}
	for _, hidden := range []string{"/run/", "/var/lib/", "/var/log/", "/dev/", "/proc/", "/sys/"} {
		if strings.HasPrefix(c.dir+"/", hidden) {
			return fmt.Errorf("state directory %s: nodes have a %s of their own: choose another by --dir", c.dir, hidden)
		}
	}
	for program, pkg := range map[string]string{
		"runc": "runc", "ip": "iproute2", "nft": "nftables", "nsenter": "util-linux", "/usr/lib/cni/ptp": "containernetworking-plugins",
	} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is missing: on Debian, apt-get install %s", program, pkg)
		}
	}
	return nil
}

// machines are all of them; the first is the control plane.
func (c *cluster) machines() []*machine {
	all := []*machine{{c: c, name: controlName}}
	for i := 1; i <= c.spec.Nodes; i++ {
		all = append(all, &machine{c: c, name: fmt.Sprint("n", i), node: i})
	}
	return all
}

func (c *cluster) machine(name string) (*machine, error) {
	var names []string
	for _, m := range c.machines() {
		if m.name == name {
			return m, nil
		}
		names = append(names, m.name)
	}
	return nil, fmt.Errorf("there is no machine %q: there are %s: %w", name, strings.Join(names, ", "), errUsage)
}

// up starts what does not run, and waits until every node is ready.
func (c *cluster) up(ctx context.Context, tars []string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	began := time.Now()
	if err := errors.Join(c.check(), c.adopt()); err != nil {
		return err
	}
	c.say(began, "a cluster of a control plane and %d nodes, in %s; it takes about 20 s", c.spec.Nodes, c.dir)
	if err := c.write(); err != nil {
		return err
	}
	if err := c.writePKI(); err != nil {
		return err
	}
	if err := c.keepImages(tars); err != nil {
		return err
	}
	for _, m := range c.machines() {
		if err := c.bootOrLoad(ctx, m, tars); err != nil {
			return err
		}
		c.say(began, "%s is up at %s", m.name, m.ip())
	}
	if err := c.awaitAPI(ctx); err != nil {
		return err
	}
	c.say(began, "the API server is ready")
	if err := c.kubectl(ctx, "apply", "--server-side", "--filename", c.path(controlName, "etc", "addons.yaml")); err != nil {
		return err
	}
	if err := c.awaitNodes(ctx); err != nil {
		return err
	}
	c.say(began, "%d nodes are ready", c.spec.Nodes)
	fmt.Fprintf(c.out, "\nexport KUBECONFIG=%s\nexport PATH=%s:$PATH   # kubectl\n", c.path("kubeconfig"), c.spec.Node)
	return nil
}

// bootOrLoad starts a machine, which imports the images by itself, or imports
// them into one that runs.
func (c *cluster) bootOrLoad(ctx context.Context, m *machine, tars []string) error {
	if _, running := m.pid(); !running {
		return m.boot(ctx)
	}
	if m.node == 0 {
		return nil
	}
	for _, tar := range tars {
		if err := m.load(ctx, tar); err != nil {
			return err
		}
	}
	return nil
}

// kubectl runs kubectl as the administrator, and returns what it complains about.
func (c *cluster) kubectl(ctx context.Context, args ...string) error {
	args = append([]string{"--kubeconfig", c.path("kubeconfig")}, args...)
	out, err := exec.CommandContext(ctx, filepath.Join(c.spec.Node, "kubectl"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", args[2], err, strings.TrimSpace(string(out)))
	}
	return nil
}

// awaitNodes waits until every node has told that it is ready since it booted.
func (c *cluster) awaitNodes(ctx context.Context) error {
	for _, m := range c.machines()[1:] {
		for {
			err := c.kubectl(ctx, "wait", "--for=condition=Ready", "--timeout=10s", "node/"+m.name)
			if err == nil {
				break
			}
			if err := pause(ctx, 200*time.Millisecond); err != nil {
				return fmt.Errorf("node %s is not ready (logs: %s): %w", m.name, m.path("log"), err)
			}
		}
	}
	return nil
}

// down ends every machine and removes every trace. Run again, it goes on where it
// has failed.
func (c *cluster) down(ctx context.Context) error {
	if err := c.read(); err != nil {
		if _, statErr := os.Stat(c.dir); errors.Is(statErr, fs.ErrNotExist) {
			fmt.Fprintln(c.out, "there is no cluster")
			return nil
		}
		// Of an `up` that failed at once: no machine was made.
		c.spec.Nodes = maxNodes
	}
	machines := c.machines()
	slices.Reverse(machines)
	errs := make([]error, len(machines))
	var all sync.WaitGroup
	for i, m := range machines {
		all.Go(func() { errs[i] = m.remove(ctx) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := removeLink(ctx, hostLink); err != nil {
		return err
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove the state directory: %w", err)
	}
	if left := c.left(); len(left) > 0 {
		return fmt.Errorf("the cluster has left something: %s", strings.Join(left, "; "))
	}
	fmt.Fprintln(c.out, "the cluster is gone")
	return nil
}

func (c *cluster) status() error {
	if err := c.read(); err != nil {
		return err
	}
	for _, m := range c.machines() {
		state := "off"
		if pid, ok := m.pid(); ok {
			state = fmt.Sprintf("process %-8d %s", pid, strings.Join(children(pid), ", "))
		}
		fmt.Fprintf(c.out, "%-8s %-12s %s\n", m.name, m.ip(), state)
	}
	return nil
}

// pause waits, unless the context ends before.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// copyFile makes a copy that replaces the old file, which may be a running program, in one step.
func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	defer in.Close() //nolint:errcheck // it was read
	scratch := to + ".new"
	out, err := os.OpenFile(scratch, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return os.Rename(scratch, to)
}

// ended tells whether an error means that the process is not there any more.
func ended(err error) bool { return errors.Is(err, syscall.ESRCH) || errors.Is(err, os.ErrProcessDone) }
