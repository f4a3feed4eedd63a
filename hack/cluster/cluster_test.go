package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

func newCluster(t *testing.T, nodes int) *cluster {
	t.Helper()
	return &cluster{dir: t.TempDir(), out: io.Discard, spec: spec{Nodes: nodes, Control: "/c", Node: "/n", Runtime: "/r"}}
}

func TestWhatIsTypedWrongIsSaidInOneMessage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nothing":            {nil, `unknown command ""`},
		"an unknown command": {[]string{"start"}, `unknown command "start"`},
		"an unknown flag":    {[]string{"--size", "3", "up"}, "-size"},
		"no nodes":           {[]string{"up", "--nodes", "0"}, "0 nodes; 1 to 9"},
		"too many nodes":     {[]string{"up", "--nodes", "10"}, "10 nodes; 1 to 9"},
		"no programs":        {[]string{"up"}, "--control, --node and --runtime"},
		"no machine":         {[]string{"power-cut"}, "which machine"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), append([]string{"--dir", t.TempDir()}, c.args...), io.Discard)
			if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want a usage error with %q", err, c.want)
			}
		})
	}
}

func TestWithoutAClusterThereIsNothingToDo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	for _, args := range [][]string{{"status"}, {"boot", "n1"}, {"load", "image.tar"}} {
		if err := run(t.Context(), append([]string{"--dir", dir}, args...), io.Discard); err == nil || !strings.Contains(err.Error(), "there is no cluster in "+dir) {
			t.Errorf("%v: %v", args, err)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--dir", dir, "down"}, &out); err != nil || out.String() != "there is no cluster\n" {
		t.Errorf("down: %v, %q", err, out.String())
	}
}

func TestAMachineThatIsNotThereIsNamedWithThoseThatAre(t *testing.T) {
	c := newCluster(t, 2)
	if _, err := c.machine("n3"); err == nil || !strings.Contains(err.Error(), `"n3": there are control, n1, n2`) {
		t.Errorf("%v", err)
	}
}

func TestNodesAreAddedButProgramsAreNotChangedUnderneath(t *testing.T) {
	c := newCluster(t, 3)
	if err := c.write(); err != nil {
		t.Fatal(err)
	}
	again := &cluster{dir: c.dir, spec: spec{Nodes: 2, Control: "/c", Node: "/n", Runtime: "/r"}}
	if err := again.adopt(); err != nil || again.spec.Nodes != 3 {
		t.Errorf("%v, %d nodes; a node is not taken away by asking for fewer", err, again.spec.Nodes)
	}
	for _, newer := range []spec{
		{Nodes: 3, Control: "/newer", Node: "/n", Runtime: "/r"},
		{Nodes: 3, Control: "/c", Node: "/newer", Runtime: "/r"},
		{Nodes: 3, Control: "/c", Node: "/n", Runtime: "/newer"},
	} {
		other := &cluster{dir: c.dir, spec: newer}
		if err := other.adopt(); err == nil || !strings.Contains(err.Error(), "make cluster-down") {
			t.Errorf("%+v: %v", newer, err)
		}
	}
}

func TestEveryComponentIsKnownByTheAuthority(t *testing.T) {
	c := newCluster(t, 2)
	if err := c.writePKI(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(c.path("pki", "apiserver.crt"))
	if err != nil {
		t.Fatal(err)
	}
	c.spec.Nodes = 3
	if err := c.writePKI(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(c.path("pki", "apiserver.crt")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("%v: a second time makes a new certificate", err)
	}
	ca, err := os.ReadFile(c.path("pki", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for _, id := range c.identities() {
		pair, err := tls.LoadX509KeyPair(c.path("pki", id.file+".crt"), c.path("pki", id.file+".key"))
		if err != nil {
			t.Errorf("%s: %v", id.user, err)
			continue
		}
		options := x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if _, err := pair.Leaf.Verify(options); err != nil || pair.Leaf.Subject.CommonName != id.user {
			t.Errorf("%s: %v, %s", id.user, err, pair.Leaf.Subject)
		}
	}
	for name, files := range map[string]string{"the administrator": c.path("kubeconfig"), "a node": c.path("pki", "kubelet-n3.kubeconfig")} {
		if config, err := clientcmd.BuildConfigFromFlags("", files); err != nil || config.Host != apiServer || len(config.KeyData) == 0 {
			t.Errorf("kubeconfig of %s: %v", name, err)
		}
	}
}

func TestConfigurationIsWhatItsReadersCanRead(t *testing.T) {
	c := newCluster(t, 1)
	for _, m := range c.machines() {
		if err := m.configure(); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"kubelet.yaml", "kube-proxy.yaml"} {
		text, err := os.ReadFile(c.path("n1", "etc", file))
		var parsed map[string]any
		if err = errors.Join(err, yaml.UnmarshalStrict(text, &parsed)); err != nil || parsed["kind"] == nil {
			t.Errorf("%s: %v\n%s", file, err, text)
		}
	}
	text, err := os.ReadFile(c.path("n1", "etc", "cni.conflist"))
	if err = errors.Join(err, json.Unmarshal(text, new(any))); err != nil || !bytes.Contains(text, []byte(`"10.99.1.0/24"`)) {
		t.Errorf("cni.conflist: %v\n%s", err, text)
	}
}

func TestAProcessIdThatSomebodyElseHasGotIsLeftAlone(t *testing.T) {
	c := newCluster(t, 1)
	n1, err := c.machine("n1")
	if err != nil {
		t.Fatal(err)
	}
	sleep := exec.Command("sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() { _ = sleep.Process.Kill(); _ = sleep.Wait() }
	defer stop()
	record := func(started string) {
		t.Helper()
		text, err := json.Marshal(process{PID: sleep.Process.Pid, Started: started})
		if err := errors.Join(err, os.MkdirAll(n1.path(), 0o755), os.WriteFile(n1.path("init.json"), text, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	record("1")
	if _, running := n1.pid(); running {
		t.Error("another process's id is taken for the machine")
	}
	if err := n1.end(t.Context()); err != nil {
		t.Error(err)
	}
	_, started := stat(sleep.Process.Pid)
	record(started)
	if pid, running := n1.pid(); !running || pid != sleep.Process.Pid {
		t.Fatal("the machine is not found; was its neighbour killed?")
	}
	if names := childrenByName(os.Getpid())["sleep"]; len(names) != 1 || names[0] != sleep.Process.Pid {
		t.Errorf("children: %v", names)
	}
	if err := n1.end(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if _, running := n1.pid(); running {
		t.Error("the machine runs on")
	}
}
