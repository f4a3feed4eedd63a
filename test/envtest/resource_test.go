package envtest_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/pooltable"
)

// status is one that the operator could have written.
const status = `
observedGeneration: 1
key: rk3588
replicas: 4
readyReplicas: 3
free: 1
busy: 2
draining: 1
quarantined: 1
pendingRequests: 5
revision: 5f6c7d8e9b
updatedReplicas: 4
selector: rpcpool.dev/pool=a
tracker: {address: "rpcpool-tracker.tuning.svc:9190"}
`

// withStatus makes a pool and writes the status.
func withStatus(t *testing.T, client dynamic.ResourceInterface, text string) *unstructured.Unstructured {
	t.Helper()
	made, err := client.Create(t.Context(), pool(object{"spec": object{"replicas": int64(5)}}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Object["status"] = parse(t, text)
	made, err = client.UpdateStatus(t.Context(), made, metav1.UpdateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestStatusIsWrittenByItself: who changes the spec cannot change the status,
// and the other way round; only the first makes a new generation.
func TestStatusIsWrittenByItself(t *testing.T) {
	client := pools(t)
	made := withStatus(t, client, status)
	if diff := cmp.Diff(parse(t, status), made.Object["status"]); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if made.GetGeneration() != 1 {
		t.Errorf("a status made generation %d", made.GetGeneration())
	}

	pooltable.Merge(made.Object, parse(t, "{spec: {replicas: 9}, status: {busy: 9}}"))
	byStatus, err := client.UpdateStatus(t.Context(), made, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(byStatus.Object, "spec", "replicas"); n != 5 {
		t.Errorf("a writer of the status made it %d replicas", n)
	}
	pooltable.Merge(byStatus.Object, parse(t, "{spec: {replicas: 7}, status: {busy: 7}}"))
	bySpec, err := client.Update(t.Context(), byStatus, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(bySpec.Object, "status", "busy"); n != 9 || bySpec.GetGeneration() != 2 {
		t.Errorf("a writer of the spec made it %d busy, generation %d", n, bySpec.GetGeneration())
	}
}

// TestConditionsHaveTheirOwners: a writer of one condition leaves those of
// others alone.
func TestConditionsHaveTheirOwners(t *testing.T) {
	client := pools(t)
	withStatus(t, client, status)
	for _, condition := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionRDMAReady} {
		applied := &unstructured.Unstructured{Object: object{
			"apiVersion": v1alpha1.GroupVersion().String(), "kind": v1alpha1.Kind, "metadata": object{"name": "a"},
			"status": object{"conditions": []any{object{
				"type": condition, "status": "True", "reason": v1alpha1.ReasonAllServersReady, "message": "",
				"observedGeneration": int64(1), "lastTransitionTime": "2026-01-02T03:04:05Z",
			}}},
		}}
		if _, err := client.ApplyStatus(t.Context(), "a", applied, metav1.ApplyOptions{FieldManager: condition}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := client.Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	conditions, _, err := unstructured.NestedSlice(got.Object, "status", "conditions")
	if err != nil || len(conditions) != 2 {
		t.Errorf("conditions %v, %v", conditions, err)
	}
	twice := object{"status": object{"conditions": append(conditions, conditions[0])}}
	pooltable.Merge(got.Object, twice)
	_, err = client.UpdateStatus(t.Context(), got, metav1.UpdateOptions{})
	if lines := strings.Join(causes(t, err), "\n"); !strings.Contains(lines, "status.conditions[2]: Duplicate value") {
		t.Errorf("one type twice: %s", lines)
	}
}

// TestScale: `kubectl scale` and autoscalers need nothing but the subresource.
func TestScale(t *testing.T) {
	client := pools(t)
	withStatus(t, client, status)
	scale, err := client.Get(t.Context(), "a", metav1.GetOptions{}, "scale")
	if err != nil {
		t.Fatal(err)
	}
	if got := scale.GetAPIVersion() + " " + scale.GetKind(); got != "autoscaling/v1 Scale" {
		t.Errorf("it is a %s", got)
	}
	for field, want := range map[string]string{
		"spec": "{replicas: 5}", "status": "{replicas: 4, selector: rpcpool.dev/pool=a}",
	} {
		if diff := cmp.Diff(parse(t, want), scale.Object[field]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", field, diff)
		}
	}
	pooltable.Merge(scale.Object, parse(t, "{spec: {replicas: 2}}"))
	if _, err := client.Update(t.Context(), scale, metav1.UpdateOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
	got, err := client.Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(got.Object, "spec", "replicas"); n != 2 {
		t.Errorf("scaled to 2, it is %d", n)
	}
	patch := []byte(`{"spec":{"replicas":10001}}`)
	_, err = client.Patch(t.Context(), "a", types.MergePatchType, patch, metav1.PatchOptions{}, "scale")
	if err == nil || !strings.Contains(err.Error(), "spec.replicas") {
		t.Errorf("scaled to 10001: %v", err)
	}
}

// TestColumns: what `kubectl get rp` shows, and what it shows with -o wide.
func TestColumns(t *testing.T) {
	client := pools(t)
	made := withStatus(t, client, status)
	discoverer, err := discovery.NewDiscoveryClientForConfig(suite.Server(t).Admin.Config)
	if err != nil {
		t.Fatal(err)
	}
	body, err := discoverer.RESTClient().Get().
		AbsPath("/apis", v1alpha1.Group, v1alpha1.Version, "namespaces", made.GetNamespace(), "rpcpools").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").
		DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(body, &table); err != nil {
		t.Fatal(err)
	}
	var names, wide []string
	cells := map[string]any{}
	for i, column := range table.ColumnDefinitions {
		if column.Priority == 0 {
			names = append(names, column.Name)
		} else {
			wide = append(wide, column.Name)
		}
		cells[column.Name] = table.Rows[0].Cells[i]
	}
	if got, want := strings.Join(names, " "), "Name Key Desired Ready Free Busy Pending Age"; got != want {
		t.Errorf("columns %s, want %s", got, want)
	}
	if got, want := strings.Join(wide, " "), "Quarantined Tracker"; got != want {
		t.Errorf("wide columns %s, want %s", got, want)
	}
	delete(cells, "Age")
	want := map[string]any{
		"Name": "a", "Key": "rk3588", "Desired": 5.0, "Ready": 3.0, "Free": 1.0, "Busy": 2.0, "Pending": 5.0,
		"Quarantined": 1.0, "Tracker": "rpcpool-tracker.tuning.svc:9190",
	}
	if diff := cmp.Diff(want, cells); diff != "" {
		t.Errorf("row (-want +got):\n%s", diff)
	}
}

// TestNames: what the resource is called, and what can be asked of it.
func TestNames(t *testing.T) {
	discoverer, err := discovery.NewDiscoveryClientForConfig(suite.Server(t).Admin.Config)
	if err != nil {
		t.Fatal(err)
	}
	list, err := discoverer.ServerResourcesForGroupVersion(v1alpha1.GroupVersion().String())
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, resource := range list.APIResources {
		found = append(found, resource.Name)
		if resource.Name != "rpcpools" {
			continue
		}
		if resource.Kind != "RPCPool" || resource.SingularName != "rpcpool" || !resource.Namespaced ||
			!slices.Equal(resource.ShortNames, []string{"rp"}) || !slices.Contains(resource.Categories, "all") {
			t.Errorf("it is %+v", resource)
		}
	}
	slices.Sort(found)
	if want := []string{"rpcpools", "rpcpools/scale", "rpcpools/status"}; !slices.Equal(found, want) {
		t.Errorf("resources %v, want %v", found, want)
	}
}
