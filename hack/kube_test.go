package hack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// fakeGo stands in for the Go command: what it builds is one line, and how often
// it does so is in the file builds.
const fakeGo = `#!/bin/bash
case "$1 $2" in
"list -m") echo v1.36.3 ;;
"list -deps") printf 'a\nb\n' ;;
"build -v")
	echo "$*" >>"$(dirname "$0")/builds"
	echo some/package >&2
	[ ! -e "$(dirname "$0")/broken" ] || exit 1
	while [ "$1" != -o ]; do shift; done
	printf '#!/bin/sh\n' >"$2"
	chmod 755 "$2"
	;;
esac
`

// kubeScript runs kube.sh with the stand-in of a directory.
func kubeScript(fake, dir string) (string, error) {
	cmd := exec.Command("./kube.sh", dir, ".", "etcd", "kube-apiserver", "kube-controller-manager")
	cmd.Env = []string{"PATH=" + fake + ":" + os.Getenv("PATH"), "HOME=" + fake}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func newFakeGo(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte(fakeGo), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestKubernetesIsBuiltOnceThoughTwoAskAtATime(t *testing.T) {
	fake := newFakeGo(t)
	dir := filepath.Join(t.TempDir(), "cache", "kube")
	var builders sync.WaitGroup
	for range 2 {
		builders.Go(func() {
			if out, err := kubeScript(fake, dir); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	builders.Wait()
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager"} {
		if err := exec.Command(filepath.Join(dir, name)).Run(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	builds, err := os.ReadFile(filepath.Join(fake, "builds"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(builds), "\n"); n != 1 {
		t.Errorf("built %d times:\n%s", n, builds)
	}
	if !strings.Contains(string(builds), "version.gitVersion=v1.36.3") || !strings.Contains(string(builds), "version.gitMinor=36 ") {
		t.Errorf("the programs do not know their version:\n%s", builds)
	}
	if out, err := kubeScript(fake, dir); err != nil || out != "" {
		t.Errorf("a third time: %v, %q", err, out)
	}
	if left, err := filepath.Glob(dir + ".*"); err != nil || len(left) != 1 { // the lock
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestABuildOfKubernetesThatFailsLeavesNothing(t *testing.T) {
	fake := newFakeGo(t)
	if err := os.WriteFile(filepath.Join(fake, "broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	dir := filepath.Join(cache, "kube")
	if out, err := kubeScript(fake, dir); err == nil || !strings.Contains(out, "some/package") {
		t.Errorf("%v, %q", err, out)
	}
	if left, err := filepath.Glob(filepath.Join(cache, "kube*")); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestKubernetesIsNotBuiltWhereOthersAreNamed(t *testing.T) {
	cache := t.TempDir()
	cmd := exec.Command("make", "--silent", "-C", "..", "kube", "CACHE="+cache)
	cmd.Env = append(os.Environ(), "KUBEBUILDER_ASSETS=/elsewhere", "MAKEFLAGS=", "MAKELEVEL=")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v, %q", err, out)
	}
	if built, err := os.ReadDir(cache); err != nil || len(built) > 0 {
		t.Errorf("%v, %v", built, err)
	}
}

// TestKubernetesIsOfOneVersion: its libraries are published apart, and only
// those of the same release fit.
func TestKubernetesIsOfOneVersion(t *testing.T) {
	module := read(t, "hack/kube/go.mod")
	release := regexp.MustCompile(`k8s\.io/kubernetes v1\.(\d+\.\d+)\n`).FindStringSubmatch(module)
	if release == nil {
		t.Fatal("no release of Kubernetes in hack/kube/go.mod")
	}
	replaced := regexp.MustCompile(`(k8s\.io/\S+) => (k8s\.io/\S+) (\S+)\n`).FindAllStringSubmatch(module, -1)
	if len(replaced) == 0 {
		t.Fatal("hack/kube/go.mod replaces nothing")
	}
	for _, m := range replaced {
		if m[1] != m[2] || m[3] != "v0."+release[1] {
			t.Error(fmt.Sprint(m[0], " is not of Kubernetes 1.", release[1]))
		}
	}
}
