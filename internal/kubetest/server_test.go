package kubetest_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/kubetest"
)

// as returns a client for a user's configuration that calls itself agent.
func as(t *testing.T, config *rest.Config, agent string) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := appsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	config = rest.CopyConfig(config)
	config.UserAgent = agent
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheServerIsTheOneThatWasBuiltAndKnowsPools(t *testing.T) {
	server := suite.Server(t)
	c := as(t, server.Admin.Config, "test")
	pool := &v1alpha1.RPCPool{
		ObjectMeta: metav1.ObjectMeta{Name: "board", Namespace: server.Namespace(t)},
		Spec: v1alpha1.RPCPoolSpec{Template: &corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "device", Image: "device", Command: []string{"worker"}}},
		}}},
	}
	if err := c.Create(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	if pool.Spec.Server.Port != 9090 {
		t.Errorf("port %d: defaults were not applied", pool.Spec.Server.Port)
	}
	pool = pool.DeepCopy()
	pool.ObjectMeta = metav1.ObjectMeta{Name: "bad", Namespace: pool.Namespace}
	pool.Spec.Key = "no spaces"
	if err := c.Create(t.Context(), pool); !apierrors.IsInvalid(err) {
		t.Errorf("a key with a space: %v", err)
	}
}

func TestAKubeconfigIsGoodForAnotherProgram(t *testing.T) {
	server := suite.Server(t)
	config, err := clientcmd.BuildConfigFromFlags("", server.Admin.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	version, err := d.ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("KUBEBUILDER_ASSETS") == "" && version.GitVersion != "v1.36.3" {
		t.Errorf("version %q", version.GitVersion)
	}
	if !strings.HasPrefix(version.GitVersion, "v1.") {
		t.Errorf("version %q", version.GitVersion)
	}
}

func TestAUserMayDoWhatRBACAllowsAndNoMore(t *testing.T) {
	server := suite.Server(t)
	nobody, err := server.User("nobody")
	if err != nil {
		t.Fatal(err)
	}
	c := as(t, nobody.Config, "test")
	if err := c.List(t.Context(), &corev1.PodList{}); !apierrors.IsForbidden(err) {
		t.Errorf("list pods: %v", err)
	}
}

func TestTheAuditLogTellsWhoAskedForWhat(t *testing.T) {
	server := suite.Server(t)
	namespace := server.Namespace(t)
	c := as(t, server.Admin.Config, "auditee/1.0")
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "before", Namespace: namespace}}
	if err := c.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	audit, err := server.Audit()
	if err != nil {
		t.Fatal(err)
	}
	object = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "after", Namespace: namespace}}
	if err := c.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), object); !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	want := []string{
		"create configmaps after 201 true", "get configmaps after 200 false",
		"delete configmaps after 200 true", "delete configmaps after 404 true",
	}
	// The log has a request when its answer may be on its way already.
	kubetest.Eventually(t, 10*time.Second, func(context.Context) error {
		requests, err := audit.Requests(func(r kubetest.Request) bool { return r.Agent == "auditee/1.0" && r.Resource == "configmaps" })
		if err != nil {
			return err
		}
		var got []string
		for _, r := range requests {
			got = append(got, fmt.Sprint(r.Verb, " ", r.Resource, " ", or(r.Name, "after"), " ", r.Code, " ", r.Write()))
			if r.User != "admin" || r.Namespace != namespace || r.Group != "" || time.Since(r.Received) > time.Minute {
				return fmt.Errorf("%+v", r)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("got %q, want %q", got, want)
		}
		return nil
	})
}

// or is otherwise if there is no text: the log of a create names no object.
func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func TestWithoutAnAPIServerTheTestIsToldWhatToDo(t *testing.T) {
	empty := t.TempDir()
	for name, set := range map[string][2]string{
		"nothing was built":              {"XDG_CACHE_HOME", empty},
		"a directory that has no server": {"KUBEBUILDER_ASSETS", empty},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBEBUILDER_ASSETS", "")
			t.Setenv(set[0], set[1])
			_, err := kubetest.Assets()
			if err == nil || !strings.Contains(err.Error(), "make kube") || !strings.Contains(err.Error(), "KUBEBUILDER_ASSETS") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestWhatMakeKubeHasBuiltIsFound(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", "")
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	out, err := exec.Command("make", "--no-print-directory", "--dry-run", "-C", "../..", "kube").Output()
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`hack/kube\.sh "([^"]+)"`).FindSubmatch(out)
	if command == nil {
		t.Fatalf("make kube runs %s", out)
	}
	dir := string(command[1])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"etcd", "kube-apiserver"} {
		if err := os.WriteFile(filepath.Join(dir, program), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := kubetest.Assets(); err != nil || found != dir || !strings.HasPrefix(dir, cache) {
		t.Errorf("%s, %v; the Makefile builds into %s", found, err, dir)
	}
}

func TestAProgramWhoseParentIsGoneEnds(t *testing.T) {
	assets, err := kubetest.Assets()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(assets, "kube")); err != nil {
		return // others' programs do not know how
	}
	dir, somebody := t.TempDir(), os.Getppid()
	cmd := exec.Command(filepath.Join(assets, "etcd"), "--data-dir", dir,
		"--listen-client-urls=http://127.0.0.1:0", "--advertise-client-urls=http://127.0.0.1:0", "--listen-peer-urls=http://127.0.0.1:0")
	cmd.Env = append(os.Environ(), "RPCPOOL_KUBE_PARENT="+strconv.Itoa(somebody))
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
	}
}
