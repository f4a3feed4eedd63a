package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
)

// patience bounds everything that is waited for, unless a test says otherwise. Images
// are on the nodes; what takes longest is an agent that hangs (two minutes).
const patience = 3 * time.Minute

// The operator's release.
const (
	definition     = "rpcpools.rpcpool.dev"
	release        = "rpcpool"
	systemSpace    = "rpcpool-system"
	testSpace      = "rpcpool-e2e" // of the pods that make faults
	operatorLabels = "app.kubernetes.io/name=rpcpool,app.kubernetes.io/component=operator"
)

// lab is the cluster under test.
type lab struct {
	api    client.WithWatch
	core   kubernetes.Interface
	config *rest.Config

	kubeconfig    string
	helm, kubectl string
	image         string // of rpcpool, NAME:TAG
	testImage     string // of rpcpool-e2e
	chart         string
	previous      string // the chart of an earlier version, for the upgrade
	cluster       string // hack/cluster's program; empty on others' clusters
	out           string // where tables are written

	table *table
	// ours: nobody had the definition of pools in the cluster before.
	ours bool
}

// the is the lab of this run; TestMain makes it.
var the *lab

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (status int) {
	flag.Parse()
	l, err := openLab()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	the = l
	began := time.Now()
	ctx := context.Background()
	if err := l.install(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: install:", err)
		return 1
	}
	fmt.Printf("the operator is installed (%.1f s)\n", time.Since(began).Seconds())
	status = m.Run()
	if err := errors.Join(l.uninstall(ctx), l.table.write(l.out)); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		status = max(status, 1)
	}
	if l.cluster == "" {
		fmt.Println("not run, because they need a cluster of hack/cluster: tests of nodes and kubelets, and of Prometheus, which has to reach pods")
	}
	return status
}

// openLab finds the cluster and the programs, by variables that the Makefile sets.
func openLab() (*lab, error) {
	l := &lab{table: &table{}}
	var missing []string
	for name, value := range map[string]*string{
		"KUBECONFIG": &l.kubeconfig, "HELM": &l.helm, "KUBECTL": &l.kubectl, "E2E_IMAGE": &l.image, "E2E_TEST_IMAGE": &l.testImage,
	} {
		if *value = os.Getenv(name); *value == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s not set: run `make e2e`, on a cluster of its own, or `make e2e KUBECONFIG=FILE`, on yours", strings.Join(missing, ", "))
	}
	l.cluster, l.previous = os.Getenv("E2E_CLUSTER"), os.Getenv("E2E_PREVIOUS_CHART")
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	l.chart, l.out = filepath.Join(root, "charts", "rpcpool"), filepath.Join(root, "out", "e2e")
	if l.config, err = clientcmd.BuildConfigFromFlags("", l.kubeconfig); err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", l.kubeconfig, err)
	}
	l.config.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	l.core, err = kubernetes.NewForConfig(l.config)
	if err != nil {
		return nil, err
	}
	l.api, err = client.NewWithWatch(l.config, client.Options{Scheme: scheme})
	return l, err
}

// repository and tag of an image's name.
func repository(image string) (name, tag string) {
	i := strings.LastIndexByte(image, ':')
	return image[:i], image[i+1:]
}

// install installs the operator as docs/kubernetes.md says, and the pods that
// make faults.
func (l *lab) install(ctx context.Context) error {
	found, err := l.do(ctx, l.kubectl, "get", "crd", definition, "--ignore-not-found", "--output=name")
	if err != nil {
		return err
	}
	l.ours = l.ours || found == "" // a test installs it again
	name, tag := repository(l.image)
	_, err = l.do(ctx, l.helm, "upgrade", "--install", release, l.chart, "--namespace", systemSpace, "--create-namespace",
		"--set", "image.repository="+name, "--set", "image.tag="+tag, "--wait", "--timeout", "2m")
	if err != nil {
		return err
	}
	// The operator is to run where Pod Security lets little.
	if _, err := l.do(ctx, l.kubectl, "label", "--overwrite", "namespace", systemSpace, "pod-security.kubernetes.io/enforce=restricted"); err != nil {
		return err
	}
	return l.installFaults(ctx)
}

// uninstall removes everything that install has made.
func (l *lab) uninstall(ctx context.Context) error {
	_, helmErr := l.do(ctx, l.helm, "uninstall", release, "--namespace", systemSpace, "--wait", "--timeout", "1m", "--ignore-not-found")
	_, kubectlErr := l.do(ctx, l.kubectl, "delete", "namespace", systemSpace, testSpace, "--ignore-not-found", "--timeout=1m")
	var crdErr error
	if l.ours {
		// The chart keeps the definition, and with it everybody's pools, on purpose.
		_, crdErr = l.do(ctx, l.kubectl, "delete", "crd", definition, "--ignore-not-found", "--timeout=1m")
	}
	return errors.Join(helmErr, kubectlErr, crdErr)
}

// do runs a program with the cluster's kubeconfig, and returns what it prints.
func (l *lab) do(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+l.kubeconfig)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}

// must is do for tests.
func (l *lab) must(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := l.do(t.Context(), program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// needCluster is of tests that do things to nodes, or reach pods from here; see the
// package's comment.
func needCluster(t *testing.T) {
	t.Helper()
	if the.cluster == "" {
		t.Skip("it needs a cluster of hack/cluster")
	}
}

// eventually waits until f has nothing to complain about.
func eventually(t *testing.T, most time.Duration, what string, f func(context.Context) error) {
	t.Helper()
	if err := until(t.Context(), most, what, f); err != nil {
		t.Fatal(err)
	}
}

// until is eventually outside of tests.
func until(ctx context.Context, most time.Duration, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	began := time.Now()
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w", time.Since(began).Round(time.Second), what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// leader is the pod of the operator that leads.
func (l *lab) leader(ctx context.Context) (*corev1.Pod, error) {
	leases, err := l.core.CoordinationV1().Leases(systemSpace).List(ctx, listAll)
	if err != nil {
		return nil, err
	}
	for i := range leases.Items {
		holder := leases.Items[i].Spec.HolderIdentity
		if holder == nil || *holder == "" {
			continue
		}
		// POD_UUID
		name, _, _ := strings.Cut(*holder, "_")
		pod := &corev1.Pod{}
		if err := l.api.Get(ctx, client.ObjectKey{Namespace: systemSpace, Name: name}, pod); err != nil {
			return nil, fmt.Errorf("leader %s: %w", *holder, err)
		}
		return pod, nil
	}
	return nil, errors.New("nobody leads")
}
