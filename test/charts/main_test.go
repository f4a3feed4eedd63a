package charts

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"rpcpool.dev/api/v1alpha1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const monitoring = "monitoring.coreos.com"

// typed returns a zero value of an object's Go type; nil: it is none that we
// know.
func typed(kind string) any {
	switch kind {
	case "CustomResourceDefinition":
		return &apiextensionsv1.CustomResourceDefinition{}
	case "ServiceAccount":
		return &corev1.ServiceAccount{}
	case "Service":
		return &corev1.Service{}
	case "Namespace":
		return &corev1.Namespace{}
	case "Pod":
		return &corev1.Pod{}
	case "Deployment":
		return &appsv1.Deployment{}
	case "PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{}
	case "NetworkPolicy":
		return &networkingv1.NetworkPolicy{}
	case "ClusterRole":
		return &rbacv1.ClusterRole{}
	case "ClusterRoleBinding":
		return &rbacv1.ClusterRoleBinding{}
	case "Role":
		return &rbacv1.Role{}
	case "RoleBinding":
		return &rbacv1.RoleBinding{}
	case "RPCPool":
		return &v1alpha1.RPCPool{}
	}
	return nil
}

// decode fills into from an object; a field that it does not have is an error.
func decode(object unstructured.Unstructured, into any) error {
	body, err := json.Marshal(object.Object)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// all returns the objects of a kind, decoded.
func all[T any](t *testing.T, objects []unstructured.Unstructured, kind string) []T {
	t.Helper()
	var out []T
	for _, object := range objects {
		if object.GetKind() != kind {
			continue
		}
		var v T
		if err := decode(object, &v); err != nil {
			t.Fatalf("%s: %v", label(object), err)
		}
		out = append(out, v)
	}
	return out
}

// only returns the one object of a kind, decoded.
func only[T any](t *testing.T, objects []unstructured.Unstructured, kind string) T {
	t.Helper()
	found := all[T](t, objects, kind)
	if len(found) != 1 {
		t.Fatalf("%d objects of kind %s, want 1", len(found), kind)
	}
	return found[0]
}

// label is what messages call an object.
func label(object unstructured.Unstructured) string {
	return strings.Join([]string{object.GetKind(), object.GetNamespace(), object.GetName()}, " ")
}

// kinds returns the kinds of objects, each once, in order.
func kinds(objects []unstructured.Unstructured) []string {
	set := map[string]bool{}
	for _, object := range objects {
		set[object.GetKind()] = true
	}
	return slices.Sorted(maps.Keys(set))
}
