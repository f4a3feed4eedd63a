package envtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/controllers/build"
	"rpcpool.dev/internal/kubetest"
)

// kinds are the resources of what the operator makes.
var kinds = map[string]schema.GroupVersionResource{
	"Pod":                 {Version: "v1", Resource: "pods"},
	"Service":             {Version: "v1", Resource: "services"},
	"EndpointSlice":       {Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"},
	"PodDisruptionBudget": {Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	"NetworkPolicy":       {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},

	"ResourceClaimTemplate": {Group: "resource.k8s.io", Version: "v1", Resource: "resourceclaimtemplates"},
}

// built are the golden objects of package build, by example.
func built(t *testing.T) map[string][]*unstructured.Unstructured {
	t.Helper()
	files, err := filepath.Glob("../../controllers/build/testdata/*.golden.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	examples := map[string][]*unstructured.Unstructured{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".golden.yaml")
		for _, document := range bytes.Split(bytes.TrimPrefix(text, []byte("---\n")), []byte("\n---\n")) {
			examples[name] = append(examples[name], &unstructured.Unstructured{Object: parse(t, string(document))})
		}
	}
	return examples
}

// cluster is a client for namespaces of the test's own, each enforcing a level
// of Pod Security.
func cluster(t *testing.T, levels ...string) (client dynamic.Interface, namespaces map[string]string) {
	t.Helper()
	server := suite.Server(t)
	client, err := dynamic.NewForConfig(server.Admin.Config)
	if err != nil {
		t.Fatal(err)
	}
	namespaces = map[string]string{}
	for _, level := range levels {
		name := server.Namespace(t)
		patch, err := json.Marshal(object{"metadata": object{"labels": object{"pod-security.kubernetes.io/enforce": level}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).
			Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		namespaces[level] = name
	}
	return client, namespaces
}

// tryOut has an API server check an object as if it were created in a namespace.
func tryOut(t *testing.T, client dynamic.Interface, namespace string, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	t.Helper()
	resource, known := kinds[o.GetKind()]
	if !known {
		t.Fatalf("nobody makes a %s", o.GetKind())
	}
	o = o.DeepCopy()
	o.SetNamespace(namespace)
	return client.Resource(resource).Namespace(namespace).Create(t.Context(), o, onTrial())
}

// TestWhatTheOperatorMakesIsTaken by an API server that lets no unknown field
// through.
func TestWhatTheOperatorMakesIsTaken(t *testing.T) {
	client, namespaces := cluster(t, "privileged")
	seen := map[string]bool{}
	for name, objects := range built(t) {
		for _, o := range objects {
			seen[o.GetKind()] = true
			if _, err := tryOut(t, client, namespaces["privileged"], o); err != nil {
				t.Errorf("%s: %s: %v", name, o.GetKind(), err)
			}
		}
	}
	for kind := range kinds {
		if !seen[kind] {
			t.Errorf("no example has a %s", kind)
		}
	}
}

// TestPodsAreAdmittedByTheirLevelOfPodSecurity, and by no stricter one.
func TestPodsAreAdmittedByTheirLevelOfPodSecurity(t *testing.T) {
	client, namespaces := cluster(t, "privileged", "baseline", "restricted")
	refused := map[string]map[string]string{ // by level: what is said; "" or nothing: admitted
		"least": {},
		// The template's own containers are not restricted, and then there is the VF.
		"most": {"baseline": "IPC_LOCK", "restricted": "IPC_LOCK"},
		"rdma": {"baseline": "IPC_LOCK", "restricted": "runAsUser=0"},
		// The same by a claim.
		"claim": {"baseline": "IPC_LOCK", "restricted": "runAsUser=0"},
		"host":  {"baseline": "host namespaces", "restricted": "host namespaces"},
		// The template's own container again.
		"calls":       {"restricted": "allowPrivilegeEscalation"},
		"calls-rdma":  {"baseline": "IPC_LOCK", "restricted": "IPC_LOCK"},
		"calls-claim": {"baseline": "IPC_LOCK", "restricted": "IPC_LOCK"},
	}
	for name, objects := range built(t) {
		wants, known := refused[name]
		if !known {
			t.Errorf("nothing is said of %s", name)
		}
		for level, namespace := range namespaces {
			_, err := tryOut(t, client, namespace, objects[0])
			switch want := wants[level]; {
			case want == "" && err != nil:
				t.Errorf("%s at level %s: %v", name, level, err)
			case want != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want)):
				t.Errorf("%s at level %s: got %v, want a refusal for %q", name, level, err, want)
			}
		}
	}
}

// TestOnTheNodesNetworkPortsAreTheNodes: so that the scheduler gives no node two
// pods that cannot both listen.
func TestOnTheNodesNetworkPortsAreTheNodes(t *testing.T) {
	client, namespaces := cluster(t, "privileged")
	made, err := tryOut(t, client, namespaces["privileged"], built(t)["host"][0])
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(made.Object, &pod); err != nil {
		t.Fatal(err)
	}
	for _, port := range pod.Spec.InitContainers[1].Ports {
		if port.HostPort != port.ContainerPort {
			t.Errorf("port %s is %d of the pod, %d of the node", port.Name, port.ContainerPort, port.HostPort)
		}
	}
}

// TestATemplateWithAMountInPlaceOfOursIsRefused by the API server, and the pool
// says so.
func TestATemplateWithAMountInPlaceOfOursIsRefused(t *testing.T) {
	client, namespaces := cluster(t, "privileged")
	pod := built(t)["least"][0]
	containers, _, err := unstructured.NestedSlice(pod.Object, "spec", "containers")
	if err != nil {
		t.Fatal(err)
	}
	device := containers[0].(object)
	device["volumeMounts"] = append(device["volumeMounts"].([]any), object{"name": "rpcpool-work", "mountPath": "/run/rpcpool"})
	if err := unstructured.SetNestedSlice(pod.Object, containers, "spec", "containers"); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOut(t, client, namespaces["privileged"], pod); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "mountPath") {
		t.Errorf("got %v", err)
	}
}

// typed is a client for a namespace of the test's own.
func typed(t *testing.T) (api client.Client, namespace string) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	server := suite.Server(t)
	namespace = server.Namespace(t)
	api, err := client.New(server.Admin.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return client.NewNamespacedClient(api, namespace), namespace
}

// devices makes a pool of n servers as the operator does, with its budget, on
// simulated nodes where all are ready.
func devices(t *testing.T, api client.Client, namespace string, n int32) (pool *v1alpha1.RPCPool, pods []*corev1.Pod, nodes *kubetest.Kubelet) {
	t.Helper()
	pool = &v1alpha1.RPCPool{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "npu"}}
	pool.Spec.Replicas, pool.Spec.Server.Command = &n, []string{"w"}
	create := func(o client.Object) {
		if err := api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	create(pool)
	nodes = suite.Server(t).Kubelet(t, kubetest.KubeletOptions{Namespace: namespace})
	for i := range int(n) {
		pod, err := build.Pod(pool, build.Settings{Image: "registry.example.com/rpcpool:v1"}, i)
		if err != nil {
			t.Fatal(err)
		}
		create(pod)
		pods = append(pods, pod)
	}
	pool.Status.Replicas = &n
	if err := api.Status().Update(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	create(build.DisruptionBudget(pool))
	return pool, pods, nodes
}

// TestNoServerIsEvictedWhileItsPoolShrinks: Kubernetes counts a budget of what
// may be unavailable from spec.replicas, and the servers above it finish their
// sessions still.
func TestNoServerIsEvictedWhileItsPoolShrinks(t *testing.T) {
	api, namespace := typed(t)
	pool, pods, nodes := devices(t, api, namespace, 4)
	suite.Server(t).ControllerManager(t, kubetest.ControllerManagerOptions{Controllers: []string{"disruption-controller"}})
	counted := func(healthy int32) {
		t.Helper()
		kubetest.Eventually(t, time.Minute, func(ctx context.Context) error {
			budget := &policyv1.PodDisruptionBudget{}
			err := api.Get(ctx, client.ObjectKey{Name: pool.Name}, budget)
			if err == nil && (budget.Status.CurrentHealthy != healthy || budget.Status.ObservedGeneration != budget.Generation) {
				err = fmt.Errorf("want %d healthy pods: %+v", healthy, budget.Status)
			}
			return err
		})
	}
	evict := func(pod *corev1.Pod) error {
		return api.SubResource("eviction").Create(t.Context(), pod, &policyv1.Eviction{}, client.DryRunAll)
	}
	counted(4)
	scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 1}}
	if err := api.SubResource("scale").Update(t.Context(), pool, client.WithSubResourceBody(scale)); err != nil {
		t.Fatal(err)
	}
	nodes.Set(pods[3], kubetest.Fate{State: kubetest.NotReady}) // so that it is counted anew
	counted(3)
	for what, pod := range map[string]*corev1.Pod{"a ready server": pods[0], "one whose template's probe fails": pods[3]} {
		if err := evict(pod); !apierrors.IsTooManyRequests(err) {
			t.Errorf("eviction of %s: got %v, want a refusal", what, err)
		}
	}
}
