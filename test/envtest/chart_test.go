package envtest_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/test/charts"
)

// warnings collects what the API server warns of: unknown and deprecated
// fields, and pods that a namespace's Pod Security level would not admit.
type warnings struct {
	mu   sync.Mutex
	text []string
}

func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

// connect returns a client that collects warnings.
func connect(t *testing.T, config *rest.Config) (client.Client, *warnings) {
	t.Helper()
	types := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(types); err != nil {
			t.Fatal(err)
		}
	}
	w := &warnings{}
	config = rest.CopyConfig(config)
	config.WarningHandlerWithContext = w
	c, err := client.New(config, client.Options{Scheme: types})
	if err != nil {
		t.Fatal(err)
	}
	return c, w
}

// restricted makes namespaces that admit only pods of Pod Security's level
// "restricted". They stay: their names are those of manifests.
func restricted(t *testing.T, c client.Client, names ...string) {
	t.Helper()
	const level = "pod-security.kubernetes.io/"
	for _, name := range names {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{level + "enforce": "restricted", level + "warn": "restricted"},
		}}
		if err := c.Create(t.Context(), namespace); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
}

// TestTheAPIServerTakesWhatChartAndConfigMake: each object, and the pod
// that the Deployment would make, is taken in a dry run with strict validation,
// without a warning.
func TestTheAPIServerTakesWhatChartAndConfigMake(t *testing.T) {
	c, warned := connect(t, suite.Server(t).Admin.Config)
	restricted(t, c, charts.Namespace, "tuning", "staging")
	sets := map[string][]unstructured.Unstructured{
		"config/default":        charts.Build(t, "default"),
		"config/network-policy": inNamespace(charts.Build(t, "network-policy")),
		"config/samples":        inNamespace(charts.Build(t, "samples")),
	}
	for _, values := range charts.Values(t) {
		sets[filepath.Base(values)] = charts.Template(t, "--values", values)
	}
	for name, objects := range sets {
		for i := range objects {
			if strings.HasPrefix(objects[i].GetAPIVersion(), "monitoring.coreos.com/") {
				continue // no definition of these is at hand
			}
			dryRun(t, c, name, &objects[i])
			if objects[i].GetKind() == "Deployment" {
				dryRun(t, c, name, podOf(t, objects[i]))
			}
		}
	}
	for _, text := range warned.text {
		t.Errorf("warning: %s", text)
	}
}

// inNamespace puts objects that kustomize would be told a namespace for into one.
func inNamespace(objects []unstructured.Unstructured) []unstructured.Unstructured {
	for i := range objects {
		objects[i].SetNamespace(charts.Namespace)
	}
	return objects
}

// dryRun creates an object, or updates it where it is there, without effect.
func dryRun(t *testing.T, c client.Client, set string, object client.Object) {
	t.Helper()
	strict := client.FieldValidation(metav1.FieldValidationStrict)
	err := c.Create(t.Context(), object, client.DryRunAll, strict)
	if apierrors.IsAlreadyExists(err) {
		there := &unstructured.Unstructured{}
		there.SetGroupVersionKind(object.GetObjectKind().GroupVersionKind())
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), there); err != nil {
			t.Fatal(err)
		}
		object.SetResourceVersion(there.GetResourceVersion())
		err = c.Update(t.Context(), object, client.DryRunAll, strict)
	}
	if err != nil {
		t.Errorf("%s: %T %s: %v", set, object, object.GetName(), err)
	}
}

// podOf returns the pod that a Deployment would make.
func podOf(t *testing.T, deployment unstructured.Unstructured) *corev1.Pod {
	t.Helper()
	body, err := json.Marshal(deployment.Object)
	if err != nil {
		t.Fatal(err)
	}
	var d appsv1.Deployment
	if err := json.Unmarshal(body, &d); err != nil {
		t.Fatal(err)
	}
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "operator", Namespace: d.Namespace, Labels: d.Spec.Template.Labels, Annotations: d.Spec.Template.Annotations},
		Spec:       d.Spec.Template.Spec,
	}
}

// TestHelmInstallsUpgradesAndUninstalls on a real API server; the definition and
// the pools outlive the chart.
func TestHelmInstallsUpgradesAndUninstalls(t *testing.T) {
	server := suite.Server(t)
	c, _ := connect(t, server.Admin.Config)
	namespace := server.Namespace(t)
	helm := func(args ...string) {
		t.Helper()
		out, err := charts.Helm(t, append(args, "--namespace", namespace, "--kubeconfig", server.Admin.Kubeconfig)...)
		if err != nil {
			t.Fatal(err)
		}
		if args[0] == "install" && !strings.Contains(out, "helm test "+namespace) {
			t.Errorf("the notes do not say how to test:\n%s", out)
		}
	}
	chart := charts.Path("charts/rpcpool")
	// The tests' API server has the definition already. The release is named as
	// the namespace: objects of the cluster are named after it.
	helm("install", namespace, chart, "--take-ownership", "--set", "fullnameOverride="+namespace)
	t.Cleanup(func() { removeClusterObjects(t, c, namespace) })
	pool := &v1alpha1.RPCPool{
		ObjectMeta: metav1.ObjectMeta{Name: "kept", Namespace: namespace},
		Spec:       v1alpha1.RPCPoolSpec{Server: v1alpha1.ServerSpec{Command: []string{"worker"}}},
	}
	if err := c.Create(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	if got := replicas(t, c, namespace); got != 2 {
		t.Errorf("%d operators after the install, want 2", got)
	}
	helm("upgrade", namespace, chart, "--set", "replicas=3", "--set", "fullnameOverride="+namespace)
	if got := replicas(t, c, namespace); got != 3 {
		t.Errorf("%d operators after the upgrade, want 3", got)
	}
	helm("uninstall", namespace, "--cascade", "foreground")
	var deployments appsv1.DeploymentList
	if err := c.List(t.Context(), &deployments, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	for _, d := range deployments.Items {
		if d.DeletionTimestamp == nil {
			t.Errorf("deployment %s is left after the uninstall", d.Name)
		}
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(pool), pool); err != nil || pool.DeletionTimestamp != nil {
		t.Errorf("the pool went with the chart: %v", err)
	}
}

func replicas(t *testing.T, c client.Client, name string) int32 {
	t.Helper()
	var d appsv1.Deployment
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: name, Name: name}, &d); err != nil {
		t.Fatal(err)
	}
	return *d.Spec.Replicas
}

// removeClusterObjects removes what a failed test may have left.
func removeClusterObjects(t *testing.T, c client.Client, instance string) {
	t.Helper()
	of := client.MatchingLabels{"app.kubernetes.io/instance": instance}
	for _, kind := range []client.Object{&rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}} {
		if err := c.DeleteAllOf(context.Background(), kind, of); err != nil {
			t.Error(err)
		}
	}
}

// TestTheOperatorOfTwoNamespacesMayNothingElsewhere: what the API server says to
// the service account, with the roles as they are installed.
func TestTheOperatorOfTwoNamespacesMayNothingElsewhere(t *testing.T) {
	server := suite.Server(t)
	c, _ := connect(t, server.Admin.Config)
	home, watched, other := server.Namespace(t), server.Namespace(t), server.Namespace(t)
	objects := charts.TemplateAs(t, "lab", home, "--set", "fullnameOverride="+home, "--set", "watchNamespaces={"+watched+"}", "--set", "rbac.userRoles=false")
	for i := range objects {
		if !slices.Contains([]string{"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}, objects[i].GetKind()) {
			continue
		}
		if err := c.Create(t.Context(), &objects[i]); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Delete(context.Background(), &objects[i]) })
	}
	account, err := server.User("system:serviceaccount:"+home+":"+home, "system:serviceaccounts", "system:authenticated")
	if err != nil {
		t.Fatal(err)
	}
	self, _ := connect(t, account.Config)
	for _, tc := range []struct {
		verb, group, resource, namespace, name string
		want                                   bool
	}{
		{"list", "rpcpool.dev", "rpcpools", watched, "", true},
		{"patch", "rpcpool.dev", "rpcpools/status", watched, "p", true},
		{"create", "", "pods", watched, "", true},
		{"patch", "discovery.k8s.io", "endpointslices", watched, "s", true},
		{"update", "coordination.k8s.io", "leases", home, home, true},
		{"watch", "", "nodes", "", "", true},
		{"create", "authentication.k8s.io", "tokenreviews", "", "", true},

		{"list", "rpcpool.dev", "rpcpools", other, "", false},
		{"list", "rpcpool.dev", "rpcpools", "", "", false},
		{"create", "", "pods", other, "", false},
		{"create", "", "pods", home, "", false},
		{"patch", "rpcpool.dev", "rpcpools", watched, "p", false},
		{"get", "", "secrets", watched, "s", false},
		{"create", "", "pods/exec", watched, "p", false},
		{"update", "coordination.k8s.io", "leases", home, "another", false},
		{"update", "coordination.k8s.io", "leases", watched, home, false},
		{"patch", "", "nodes", "", "n", false},
		{"create", "rbac.authorization.k8s.io", "roles", watched, "", false},
	} {
		resource, subresource, _ := strings.Cut(tc.resource, "/")
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: tc.verb, Group: tc.group, Resource: resource, Subresource: subresource, Namespace: tc.namespace, Name: tc.name,
			},
		}}
		if err := self.Create(t.Context(), review); err != nil {
			t.Fatal(err)
		}
		if review.Status.Allowed != tc.want {
			t.Errorf("%s %s/%s in %q: allowed %v, want %v (%s)", tc.verb, tc.group, tc.resource, tc.namespace, review.Status.Allowed, tc.want, review.Status.Reason)
		}
	}
}
