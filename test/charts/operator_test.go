package charts

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// operator returns the operator's container.
func operator(t *testing.T, objects []unstructured.Unstructured) corev1.Container {
	t.Helper()
	spec := only[appsv1.Deployment](t, objects, "Deployment").Spec.Template.Spec
	if len(spec.Containers) != 1 || len(spec.InitContainers) != 0 {
		t.Fatalf("the operator has %d containers", len(spec.Containers))
	}
	return spec.Containers[0]
}

// testPod returns the pod of helm test.
func testPod(t *testing.T, objects []unstructured.Unstructured) corev1.Pod {
	t.Helper()
	return only[corev1.Pod](t, objects, "Pod")
}

// TestPodsAreRestricted: the operator's and the test's pods keep Pod Security's
// level "restricted", and more: nothing is written to the image.
func TestPodsAreRestricted(t *testing.T) {
	pods := map[string]corev1.PodSpec{
		"config": only[appsv1.Deployment](t, Build(t, "default"), "Deployment").Spec.Template.Spec,
	}
	for _, values := range Values(t) {
		objects := Template(t, "--values", values)
		pods[filepath.Base(values)] = only[appsv1.Deployment](t, objects, "Deployment").Spec.Template.Spec
		for _, pod := range all[corev1.Pod](t, objects, "Pod") {
			pods[filepath.Base(values)+", test"] = pod.Spec
		}
	}
	for name, spec := range pods {
		for _, problem := range unrestricted(spec) {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

// unrestricted lists what "restricted" forbids.
func unrestricted(spec corev1.PodSpec) []string {
	var out []string
	if spec.HostNetwork || spec.HostPID || spec.HostIPC {
		out = append(out, "shares namespaces of the node")
	}
	p := spec.SecurityContext
	if p == nil || p.RunAsNonRoot == nil || !*p.RunAsNonRoot || p.RunAsUser != nil && *p.RunAsUser == 0 {
		out = append(out, "may run as root")
	}
	if p == nil || p.SeccompProfile == nil || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		out = append(out, "has no seccomp profile")
	}
	for _, volume := range spec.Volumes {
		if volume.Secret == nil {
			out = append(out, "has a volume that is no secret: "+volume.Name)
		}
	}
	for _, c := range spec.Containers {
		s := c.SecurityContext
		switch {
		case s == nil || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0:
			out = append(out, c.Name+" has capabilities")
		case s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation, s.Privileged != nil && *s.Privileged:
			out = append(out, c.Name+" can gain privileges")
		case s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem:
			out = append(out, c.Name+" can write to its image")
		}
		for _, port := range c.Ports {
			if port.HostPort != 0 {
				out = append(out, c.Name+" has a port of the node")
			}
		}
	}
	return out
}

// TestSelectorsFindTheOperatorAndNothingElse: Deployment, Service,
// PodDisruptionBudget, NetworkPolicy and spread, by chart and by config/.
func TestSelectorsFindTheOperatorAndNothingElse(t *testing.T) {
	chart := Template(t, "--values", Path("charts/rpcpool/ci/full-values.yaml"))
	config := slices.Concat(Build(t, "default"), Build(t, "network-policy"))
	test := labels.Set(testPod(t, chart).Labels)
	for name, objects := range map[string][]unstructured.Unstructured{"chart": chart, "config": config} {
		deployment := only[appsv1.Deployment](t, objects, "Deployment")
		budget := only[policyv1.PodDisruptionBudget](t, objects, "PodDisruptionBudget")
		policy := only[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy")
		selectors := map[string]*metav1.LabelSelector{
			"deployment": deployment.Spec.Selector, "budget": budget.Spec.Selector, "policy": &policy.Spec.PodSelector,
			"service": {MatchLabels: only[corev1.Service](t, objects, "Service").Spec.Selector},
		}
		for i, spread := range deployment.Spec.Template.Spec.TopologySpreadConstraints {
			selectors[fmt.Sprintf("spread %d", i)] = spread.LabelSelector
		}
		for what, selector := range selectors {
			s, err := metav1.LabelSelectorAsSelector(selector)
			if err != nil {
				t.Fatal(err)
			}
			if !s.Matches(labels.Set(deployment.Spec.Template.Labels)) || s.Matches(test) || s.Empty() {
				t.Errorf("%s: the selector of the %s, %s, finds something else than the operator", name, what, s)
			}
		}
	}
}

// TestReplicasAndTheirBudget: one operator cannot have a budget that lets a node
// be drained, and is never two for a moment if nobody elects.
func TestReplicasAndTheirBudget(t *testing.T) {
	for set, budgets := range map[string]int{"replicas=2": 1, "replicas=1": 0, "replicas=0": 0, "podDisruptionBudget.enabled=false": 0} {
		if got := all[policyv1.PodDisruptionBudget](t, Template(t, "--set", set), "PodDisruptionBudget"); len(got) != budgets {
			t.Errorf("%s: %d budgets, want %d", set, len(got), budgets)
		}
	}
	alone := only[appsv1.Deployment](t, Template(t, "--set", "replicas=1,leaderElection.enabled=false"), "Deployment")
	if alone.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		t.Errorf("without election: strategy %v", alone.Spec.Strategy)
	}
}

// TestConfigAndChartStartTheSameOperator: what matters is equal; names, labels
// and how the image reaches the arguments are not.
func TestConfigAndChartStartTheSameOperator(t *testing.T) {
	chartObjects, configObjects := Template(t), Build(t, "default")
	chart := only[appsv1.Deployment](t, chartObjects, "Deployment").Spec
	config := only[appsv1.Deployment](t, configObjects, "Deployment").Spec

	own := []string{"--sidecar-image=", "--leader-elect-resource-name="}
	for _, arg := range config.Template.Spec.Containers[0].Args {
		if slices.ContainsFunc(own, func(prefix string) bool { return strings.HasPrefix(arg, prefix) }) {
			continue
		}
		if !slices.Contains(chart.Template.Spec.Containers[0].Args, arg) {
			t.Errorf("config says %s, the chart does not", arg)
		}
	}
	image := corev1.EnvVar{Name: "SIDECAR_IMAGE", Value: config.Template.Spec.Containers[0].Image}
	if env := config.Template.Spec.Containers[0].Env; env[len(env)-1] != image {
		t.Errorf("config: environment %v, want %v in the end", env, image)
	}
	for _, spec := range []*appsv1.DeploymentSpec{&chart, &config} {
		pod, container := &spec.Template.Spec, &spec.Template.Spec.Containers[0]
		spec.Selector, spec.Template.Labels, pod.ServiceAccountName = nil, nil, ""
		container.Image, container.ImagePullPolicy, container.Args = "", "", nil
		container.Env = slices.DeleteFunc(container.Env, func(e corev1.EnvVar) bool { return e.Name == image.Name })
		pod.TopologySpreadConstraints = pod.TopologySpreadConstraints[:1] // the chart also spreads over zones
		pod.TopologySpreadConstraints[0].LabelSelector = nil
	}
	if diff := cmp.Diff(config, chart); diff != "" {
		t.Errorf("config (-) and chart (+) differ:\n%s", diff)
	}

	budgetOf := func(objects []unstructured.Unstructured) policyv1.PodDisruptionBudgetSpec {
		spec := only[policyv1.PodDisruptionBudget](t, objects, "PodDisruptionBudget").Spec
		spec.Selector = nil
		return spec
	}
	if diff := cmp.Diff(budgetOf(configObjects), budgetOf(chartObjects)); diff != "" {
		t.Errorf("config (-) and chart (+) differ:\n%s", diff)
	}
	portsOf := func(objects []unstructured.Unstructured) []corev1.ServicePort {
		return only[corev1.Service](t, objects, "Service").Spec.Ports
	}
	if diff := cmp.Diff(portsOf(configObjects), portsOf(chartObjects)); diff != "" {
		t.Errorf("config (-) and chart (+) differ:\n%s", diff)
	}
}

// TestArgumentsAreFlagsOfThePrograms, as they are built from this tree.
func TestArgumentsAreFlagsOfThePrograms(t *testing.T) {
	bin := t.TempDir()
	env := append(os.Environ(), "CGO_ENABLED=0") // as `make build` does: what that compiled is used
	if _, err := execute(t, env, "go", "build", "-o", bin, "rpcpool.dev/cmd/manager", "rpcpool.dev/cmd/rpcpool"); err != nil {
		t.Fatal(err)
	}
	full := Template(t, "--values", Path("charts/rpcpool/ci/full-values.yaml"), "--set", "watchNamespaces={a,b},extraArgs=null")
	for name, args := range map[string][]string{"chart": operator(t, full).Args, "config": operator(t, Build(t, "default")).Args} {
		if _, err := execute(t, bare(t), filepath.Join(bin, "manager"), append(args, "--version")...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	ping := testPod(t, full).Spec.Containers[0]
	if !slices.Equal(ping.Command, []string{"rpcpool"}) {
		t.Errorf("the test runs %q", ping.Command)
	}
	if _, err := execute(t, bare(t), filepath.Join(bin, "rpcpool"), append(ping.Args, "--help")...); err != nil {
		t.Error(err)
	}
}
