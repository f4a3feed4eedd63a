package charts

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// rights are verbs by GROUP/RESOURCE (with =NAME where they are for one name
// only), the verbs sorted.
type rights map[string]string

// What the operator does, and no more. The chart's README says what for.
var (
	onPools = rights{
		"rpcpool.dev/rpcpools":                       "get list watch",
		"rpcpool.dev/rpcpools/status":                "patch",
		"rpcpool.dev/rpcpools/finalizers":            "update",
		"/pods":                                      "create delete get list patch watch",
		"/services":                                  "create get list patch watch",
		"discovery.k8s.io/endpointslices":            "create get list patch watch",
		"discovery.k8s.io/endpointslices/restricted": "create",
		"policy/poddisruptionbudgets":                "create delete get list patch watch",
		"networking.k8s.io/networkpolicies":          "create delete get list patch watch",
		"resource.k8s.io/resourceclaimtemplates":     "create delete get list",
		"events.k8s.io/events":                       "create patch",
	}
	onNodes = rights{"/nodes": "get list watch"}
	// onMetrics asks the API server about those who scrape.
	onMetrics = rights{
		"authentication.k8s.io/tokenreviews":        "create",
		"authorization.k8s.io/subjectaccessreviews": "create",
	}
	onLease = rights{
		"coordination.k8s.io/leases":      "create",
		"coordination.k8s.io/leases=NAME": "get patch update",
		"/events":                         "create patch",
	}
)

func union(parts ...rights) rights {
	all := rights{}
	for _, part := range parts {
		maps.Copy(all, part)
	}
	return all
}

// add adds rules; lease is the name that is compared as NAME.
func (r rights) add(t *testing.T, rules []rbacv1.PolicyRule, lease string) {
	t.Helper()
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				key := group + "/" + resource
				for _, name := range rule.ResourceNames {
					key += "=" + strings.Replace(name, lease, "NAME", 1)
				}
				verbs := append(strings.Fields(r[key]), rule.Verbs...)
				slices.Sort(verbs)
				r[key] = strings.Join(slices.Compact(verbs), " ")
			}
		}
		if len(rule.NonResourceURLs) > 0 {
			t.Errorf("the operator has a right on %q", rule.NonResourceURLs)
		}
	}
}

// granted returns the operator's rights by namespace, "" being all of them:
// what the bindings to its service account give.
func granted(t *testing.T, objects []unstructured.Unstructured, lease string) map[string]rights {
	t.Helper()
	rules := map[string][]rbacv1.PolicyRule{}
	for _, role := range all[rbacv1.ClusterRole](t, objects, "ClusterRole") {
		rules["ClusterRole//"+role.Name] = role.Rules
	}
	for _, role := range all[rbacv1.Role](t, objects, "Role") {
		rules["Role/"+role.Namespace+"/"+role.Name] = role.Rules
	}
	out := map[string]rights{}
	give := func(namespace string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		in := namespace
		if ref.Kind == "ClusterRole" {
			in = ""
		}
		found, ok := rules[ref.Kind+"/"+in+"/"+ref.Name]
		if !ok {
			t.Fatalf("a binding of %s %s/%s, which is not there", ref.Kind, in, ref.Name)
		}
		if !slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool { return s.Namespace == Namespace }) {
			return
		}
		if out[namespace] == nil {
			out[namespace] = rights{}
		}
		out[namespace].add(t, found, lease)
	}
	for _, b := range all[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding") {
		give("", b.RoleRef, b.Subjects)
	}
	for _, b := range all[rbacv1.RoleBinding](t, objects, "RoleBinding") {
		give(b.Namespace, b.RoleRef, b.Subjects)
	}
	return out
}

// TestTheOperatorHasTheRightsThatItNeedsAndNoOther: by the chart in each of its
// modes, and by config/.
func TestTheOperatorHasTheRightsThatItNeedsAndNoOther(t *testing.T) {
	onCluster := map[string]rights{"": union(onPools, onNodes, onMetrics), Namespace: onLease}
	for name, tc := range map[string]struct {
		set  string
		want map[string]rights
	}{
		"all namespaces":                  {"replicas=2", onCluster},
		"all namespaces, but no nodes":    {"watchNodes=false", map[string]rights{"": union(onPools, onMetrics), Namespace: onLease}},
		"all namespaces, open metrics":    {"metrics.secure=false", map[string]rights{"": union(onPools, onNodes), Namespace: onLease}},
		"alone":                           {"replicas=1,leaderElection.enabled=false", map[string]rights{"": union(onPools, onNodes, onMetrics)}},
		"two namespaces":                  {"watchNamespaces={a,b}", map[string]rights{"": union(onNodes, onMetrics), "a": onPools, "b": onPools, Namespace: onLease}},
		"its own namespace":               {"watchNamespaces={rpcpool-system}", map[string]rights{"": union(onNodes, onMetrics), Namespace: union(onPools, onLease)}},
		"nothing on the cluster":          {"watchNamespaces={a},watchNodes=false,metrics.secure=false", map[string]rights{"a": onPools, Namespace: onLease}},
		"somebody else makes the roles":   {"rbac.create=false", map[string]rights{}},
		"metrics are for somebody's eyes": {"metrics.readers[0].name=p,metrics.readers[0].namespace=m", onCluster},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, granted(t, Template(t, "--set", tc.set), Release)); diff != "" {
				t.Errorf("chart with %s:\n%s", tc.set, diff)
			}
		})
	}
	t.Run("config", func(t *testing.T) {
		if diff := cmp.Diff(onCluster, granted(t, Build(t, "default"), "rpcpool-operator")); diff != "" {
			t.Errorf("config/default:\n%s", diff)
		}
	})
}

// TestTheLeaseIsTheOneThatTheOperatorMayHave: the name in the rule is the name
// in the arguments.
func TestTheLeaseIsTheOneThatTheOperatorMayHave(t *testing.T) {
	for name, objects := range map[string][]unstructured.Unstructured{
		"chart":  TemplateAs(t, "lab", "ns"),
		"config": Build(t, "default"),
	} {
		var names []string
		for _, role := range all[rbacv1.Role](t, objects, "Role") {
			for _, rule := range role.Rules {
				names = append(names, rule.ResourceNames...)
			}
		}
		if len(names) != 1 || !slices.Contains(operator(t, objects).Args, "--leader-elect-resource-name="+names[0]) {
			t.Errorf("%s: rule for %q, arguments %q", name, names, operator(t, objects).Args)
		}
	}
}

// TestPeoplesRolesAreAggregated, the same by the chart and by config/; none of
// them can write a status.
func TestPeoplesRolesAreAggregated(t *testing.T) {
	const read, write = "get list watch", "create delete get list patch update watch"
	type role struct {
		Aggregates []string
		Rights     rights
	}
	people := func(pools, scale string) rights {
		return rights{"rpcpool.dev/rpcpools": pools, "rpcpool.dev/rpcpools/scale": scale, "rpcpool.dev/rpcpools/status": "get"}
	}
	want := map[string]role{
		"rpcpool-viewer": {[]string{"admin", "edit", "view"}, people(read, "get")},
		"rpcpool-editor": {[]string{"admin", "edit"}, people(write, "get patch update")},
		"rpcpool-admin":  {[]string{"admin"}, people("create delete deletecollection get list patch update watch", "get patch update")},
	}
	const prefix = "rbac.authorization.k8s.io/aggregate-to-"
	for name, objects := range map[string][]unstructured.Unstructured{"chart": Template(t), "config": Build(t, "default")} {
		got := map[string]role{}
		for _, r := range all[rbacv1.ClusterRole](t, objects, "ClusterRole") {
			var to []string
			for key := range r.Labels {
				if target, ok := strings.CutPrefix(key, prefix); ok {
					to = append(to, target)
				}
			}
			if slices.Sort(to); len(to) > 0 {
				has := rights{}
				has.add(t, r.Rules, "")
				got[r.Name] = role{to, has}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	if objects := Template(t, "--set", "rbac.userRoles=false"); slices.ContainsFunc(objects, func(o unstructured.Unstructured) bool { return o.GetName() == "rpcpool-viewer" }) {
		t.Error("rbac.userRoles=false has a viewer all the same")
	}
}

// TestWhoReadsMetrics: the chart binds those whom the values name.
func TestWhoReadsMetrics(t *testing.T) {
	objects := Template(t, "--values", Path("charts/rpcpool/ci/full-values.yaml"))
	var got []rbacv1.Subject
	for _, b := range all[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding") {
		if b.RoleRef.Name == "pools-metrics-reader" {
			got = append(got, b.Subjects...)
		}
	}
	if want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "prometheus-k8s", Namespace: "monitoring"}}; !cmp.Equal(want, got) {
		t.Errorf("readers %v, want %v", got, want)
	}
	for name, objects := range map[string][]unstructured.Unstructured{"chart": objects, "config": Build(t, "default")} {
		found := false
		for _, r := range all[rbacv1.ClusterRole](t, objects, "ClusterRole") {
			want := []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}
			found = found || strings.HasSuffix(r.Name, "-metrics-reader") && cmp.Equal(want, r.Rules)
		}
		if !found {
			t.Errorf("%s: no role that reads /metrics and nothing else", name)
		}
	}
}
