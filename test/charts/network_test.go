package charts

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// TestForeignKindsOnlyWhereTheyAreAskedFor: a cluster without the Prometheus
// operator gets nothing that it does not know.
func TestForeignKindsOnlyWhereTheyAreAskedFor(t *testing.T) {
	want := []string{
		"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Deployment", "Pod", "PodDisruptionBudget", "RPCPool",
		"Role", "RoleBinding", "Service", "ServiceAccount",
	}
	if got := kinds(Template(t, "--set", "crds.enabled=true")); !slices.Equal(got, want) {
		t.Errorf("by default the chart has %q", got)
	}
	want = slices.DeleteFunc(append(want, "Namespace"), func(kind string) bool { return kind == "Pod" || kind == "RPCPool" })
	slices.Sort(want)
	if got := kinds(Build(t, "default")); !slices.Equal(got, want) {
		t.Errorf("config/default has %q, want %q", got, want)
	}
	for _, object := range Build(t, "prometheus") {
		if object.GroupVersionKind().Group != monitoring {
			t.Errorf("config/prometheus has a %s", label(object))
		}
	}
}

// field returns what is at a path of an object; nil: nothing.
func field(object unstructured.Unstructured, path ...string) any {
	value, _, _ := unstructured.NestedFieldNoCopy(object.Object, path...)
	return value
}

// find returns the one object of a kind.
func find(t *testing.T, objects []unstructured.Unstructured, kind string) unstructured.Unstructured {
	t.Helper()
	i := slices.IndexFunc(objects, func(o unstructured.Unstructured) bool { return o.GetKind() == kind })
	if i < 0 {
		t.Fatalf("no %s", kind)
	}
	return objects[i]
}

// TestPrometheusFindsTheOperator: the monitor selects the Service, by a port
// that it has, and shows a token where one is wanted.
func TestPrometheusFindsTheOperator(t *testing.T) {
	open := map[string]any{
		"port": "metrics", "path": "/metrics", "honorLabels": true,
		"relabelings": []any{map[string]any{"targetLabel": "job", "replacement": "rpcpool-operator"}},
	}
	secure := maps.Clone(open)
	secure["scheme"] = "https"
	secure["bearerTokenFile"] = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	secure["tlsConfig"] = map[string]any{"insecureSkipVerify": true}
	chart := []string{"--set", "metrics.serviceMonitor.enabled=true"}
	for name, tc := range map[string]struct {
		objects []unstructured.Unstructured
		want    map[string]any
		port    int32
	}{
		"config":              {slices.Concat(Build(t, "default"), Build(t, "prometheus")), secure, 8443},
		"chart":               {Template(t, chart...), secure, 8443},
		"chart, open metrics": {Template(t, append(chart, "--set", "metrics.secure=false")...), open, 8080},
	} {
		monitor, service := find(t, tc.objects, "ServiceMonitor"), only[corev1.Service](t, tc.objects, "Service")
		if diff := cmp.Diff([]any{tc.want}, field(monitor, "spec", "endpoints")); diff != "" {
			t.Errorf("%s: endpoints:\n%s", name, diff)
		}
		selector, _, err := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
		if err != nil || len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(labels.Set(service.Labels)) {
			t.Errorf("%s: %v, %v does not select the service, %v", name, err, selector, service.Labels)
		}
		container := operator(t, tc.objects)
		if service.Spec.Ports[0].Name != "metrics" || service.Spec.Ports[0].Port != tc.port ||
			service.Spec.Ports[0].TargetPort.StrVal != container.Ports[0].Name || container.Ports[0].ContainerPort != tc.port {
			t.Errorf("%s: service %+v, container %+v", name, service.Spec.Ports, container.Ports)
		}
	}
}

// TestPrometheusFindsThePools that the operator looks at, wherever they are.
func TestPrometheusFindsThePools(t *testing.T) {
	for name, tc := range map[string]struct {
		objects []unstructured.Unstructured
		want    map[string]any
	}{
		"config":                {Build(t, "prometheus"), map[string]any{"any": true}},
		"chart":                 {Template(t, "--set", "metrics.podMonitor.enabled=true"), map[string]any{"any": true}},
		"chart, two namespaces": {Template(t, "--set", "metrics.podMonitor.enabled=true,watchNamespaces={a,b}"), map[string]any{"matchNames": []any{"a", "b"}}},
	} {
		spec, _ := field(find(t, tc.objects, "PodMonitor"), "spec").(map[string]any)
		want := map[string]any{
			"namespaceSelector": tc.want,
			"selector":          map[string]any{"matchExpressions": []any{map[string]any{"key": "rpcpool.dev/pool", "operator": "Exists"}}},
			"podMetricsEndpoints": []any{map[string]any{"port": "metrics", "path": "/metrics", "relabelings": []any{
				map[string]any{"sourceLabels": []any{"__meta_kubernetes_pod_label_rpcpool_dev_pool"}, "targetLabel": "pool"},
				map[string]any{"targetLabel": "job", "replacement": "rpcpool-sidecar"},
			}}},
		}
		if diff := cmp.Diff(want, spec); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// TestTheRulesAreThoseOfTheRuleFile: the text of an alert is not Helm's to fill
// in, and no rule is made unless it is asked for.
func TestTheRulesAreThoseOfTheRuleFile(t *testing.T) {
	text, err := os.ReadFile(Path("config/prometheus/rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := yaml.UnmarshalStrict(text, &want); err != nil {
		t.Fatal(err)
	}
	chart := find(t, Template(t, "--set", "metrics.rules.enabled=true,metrics.rules.labels.release=prometheus"), "PrometheusRule")
	for name, object := range map[string]unstructured.Unstructured{"chart": chart, "config": find(t, Build(t, "prometheus"), "PrometheusRule")} {
		if diff := cmp.Diff(any(want), field(object, "spec")); diff != "" {
			t.Errorf("%s: run `make manifests`:\n%s", name, diff)
		}
	}
	if got := chart.GetLabels()["release"]; got != "prometheus" {
		t.Errorf("the chart's rules have the label %q", got)
	}
}

// TestTheNetworkPolicyOpensTheTrackersPorts, the metrics' and the probes'.
func TestTheNetworkPolicyOpensTheTrackersPorts(t *testing.T) {
	type rule struct {
		First, Last int32
		From        int
	}
	for name, tc := range map[string]struct {
		objects []unstructured.Unstructured
		want    []rule
	}{
		"config": {Build(t, "network-policy"), []rule{{8443, 8443, 1}, {8081, 8081, 0}, {20000, 20999, 0}}},
		"chart":  {Template(t, "--set", "networkPolicy.enabled=true"), []rule{{8443, 8443, 0}, {8081, 8081, 0}, {20000, 20999, 0}}},
		"chart, all values": {
			Template(t, "--values", Path("charts/rpcpool/ci/full-values.yaml")), []rule{{8443, 8443, 1}, {8081, 8081, 0}, {30000, 30099, 2}},
		},
	} {
		policy := only[networkingv1.NetworkPolicy](t, tc.objects, "NetworkPolicy")
		if !slices.Equal(policy.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}) {
			t.Errorf("%s: restricts %q", name, policy.Spec.PolicyTypes)
		}
		var got []rule
		for _, ingress := range policy.Spec.Ingress {
			port := ingress.Ports[0]
			r := rule{port.Port.IntVal, port.Port.IntVal, len(ingress.From)}
			if port.EndPort != nil {
				r.Last = *port.EndPort
			}
			got = append(got, r)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: opens %v, want %v", name, got, tc.want)
		}
	}
}
