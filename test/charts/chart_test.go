package charts

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"rpcpool.dev/config/crd"
	"rpcpool.dev/internal/manifest"
)

// clusterScoped kinds have no namespace; every other object says which is its.
var clusterScoped = []string{"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}

// TestEveryObjectIsWhatItsTypeAllows: for each example of values, Helm's linter
// is content, and every object decodes into its Go type without a field left.
func TestEveryObjectIsWhatItsTypeAllows(t *testing.T) {
	for _, values := range Values(t) {
		t.Run(strings.TrimSuffix(filepath.Base(values), "-values.yaml"), func(t *testing.T) {
			if _, err := Helm(t, "lint", "--strict", Path("charts/rpcpool"), "--values", values); err != nil {
				t.Error(err)
			}
			checkObjects(t, Template(t, "--values", values))
		})
	}
	for _, dir := range []string{"default", "prometheus", "network-policy", "crd"} {
		t.Run("config/"+dir, func(t *testing.T) { checkObjects(t, Build(t, dir)) })
	}
}

func checkObjects(t *testing.T, objects []unstructured.Unstructured) {
	t.Helper()
	seen := map[string]bool{}
	for _, object := range objects {
		id := label(object)
		if seen[id] {
			t.Errorf("%s is there twice", id)
		}
		seen[id] = true
		if name := object.GetName(); name == "" || len(name) > 63 {
			t.Errorf("%s: a name of %d characters", id, len(name))
		}
		if (object.GetNamespace() == "") != slices.Contains(clusterScoped, object.GetKind()) {
			t.Errorf("%s: namespace %q", id, object.GetNamespace())
		}
		if object.GroupVersionKind().Group == monitoring {
			continue // types of a project that is not a dependency
		}
		into := typed(object.GetKind())
		if into == nil {
			t.Errorf("%s: a kind that nobody expects", id)
			continue
		}
		if err := decode(object, into); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// TestObjectsCarryHelmsLabels as Helm's conventions have them.
func TestObjectsCarryHelmsLabels(t *testing.T) {
	objects := TemplateAs(t, "lab", "tuning", "--values", Path("charts/rpcpool/ci/full-values.yaml"), "--set", "fullnameOverride=")
	want := map[string]string{
		"helm.sh/chart": "rpcpool-0.1.0", "app.kubernetes.io/name": "rpcpool", "app.kubernetes.io/instance": "lab",
		"app.kubernetes.io/version": "v0.1.0", "app.kubernetes.io/part-of": "rpcpool", "app.kubernetes.io/managed-by": "Helm",
	}
	for _, object := range objects {
		for key, value := range want {
			if got := object.GetLabels()[key]; got != value {
				t.Errorf("%s: label %s is %q, want %q", label(object), key, got, value)
			}
		}
		if name := object.GetName(); !strings.HasPrefix(name, "lab-rpcpool") {
			t.Errorf("%s: the name does not begin with the release's", label(object))
		}
	}
}

// TestNamesStayNames: those that YAML would take for something else, and those
// that are too long with a suffix.
func TestNamesStayNames(t *testing.T) {
	full := []string{"--values", Path("charts/rpcpool/ci/full-values.yaml")}
	long := strings.Repeat("x", 62) + "-"
	for name, tc := range map[string]struct {
		release, namespace string
		args               []string
	}{
		"numbers":           {"7e2", "2024", []string{"--set-string", "watchNamespaces={1e3,0x10}", "--set-string", "fullnameOverride=12"}},
		"a long release":    {strings.Repeat("r", 53), "ns", nil},
		"a long full name":  {"r", "ns", []string{"--set", "fullnameOverride=" + long + "y"}},
		"a dash at the cut": {"r", "ns", []string{"--set", "fullnameOverride=" + strings.Repeat("x", 48) + "-" + strings.Repeat("y", 12)}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := TemplateAs(t, tc.release, tc.namespace, slices.Concat(full, tc.args)...)
			checkObjects(t, objects)
			for _, object := range objects {
				if strings.Contains(object.GetName(), "--") {
					t.Errorf("%s: a name that was cut badly", label(object))
				}
			}
		})
	}
}

// TestUnknownValuesAreRefused: a typing error does not install something else
// than was meant.
func TestUnknownValuesAreRefused(t *testing.T) {
	for _, tc := range []struct{ set, want string }{
		{"replica=3", "additional properties 'replica' not allowed"},
		{"image.tags=x", "additional properties 'tags' not allowed"},
		{"image.digest=v1", "/image/digest"},
		{"image.pullPolicy=Sometimes", "/image/pullPolicy"},
		{"crds.enable=true", "additional properties 'enable' not allowed"},
		{"crds.keep=maybe", "/crds/keep"},
		{"watchNamespace={a}", "additional properties 'watchNamespace' not allowed"},
		{"watchNamespaces={A_B}", "/watchNamespaces/0"},
		{"leaderElection.leaseDuration=fast", "/leaderElection/leaseDuration"},
		{"tracker.ports=20000", "/tracker/ports"},
		{"log.level=loud", "/log/level"},
		{"extraArgs={x}", "/extraArgs/0"},
		{"metrics.serviceMonitor.enable=true", "additional properties 'enable' not allowed"},
		{"metrics.podMonitor.interval=often", "/metrics/podMonitor/interval"},
		{"metrics.rules.enable=true", "additional properties 'enable' not allowed"},
		{"metrics.readers[0].name=x", "missing property 'namespace'"},
		{"networkPolicy.tracker.from[0].podSelectors.a=b", "additional properties 'podSelectors' not allowed"},
		{"tolerations[0].effects=NoSchedule", "additional properties 'effects' not allowed"},
		{"affinity.nodeAffinities.x=y", "additional properties 'nodeAffinities' not allowed"},
		{"resources.limit.cpu=1", "additional properties 'limit' not allowed"},
		{"replicas=2,leaderElection.enabled=false", "set replicas to 1"},
	} {
		out, err := Helm(t, "template", "r", Path("charts/rpcpool"), "--set", tc.set)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q; output of %d bytes", tc.set, err, tc.want, len(out))
		}
	}
}

// TestTheSchemaHasEveryValue, and no other.
func TestTheSchemaHasEveryValue(t *testing.T) {
	var values, schema map[string]any
	read(t, "charts/rpcpool/values.yaml", &values)
	read(t, "charts/rpcpool/values.schema.json", &schema)
	definitions, _ := schema["definitions"].(map[string]any)
	compareValues(t, "", values, schema, definitions)
}

func read(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(Path(name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// compareValues compares the keys of values to the properties of an object that
// allows no others; what allows others is Kubernetes' own.
func compareValues(t *testing.T, path string, values, schema, definitions map[string]any) {
	t.Helper()
	if ref, ok := schema["$ref"].(string); ok {
		schema, _ = definitions[strings.TrimPrefix(ref, "#/definitions/")].(map[string]any)
	}
	properties, _ := schema["properties"].(map[string]any)
	if schema["additionalProperties"] != false || len(values) == 0 {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		property, _ := properties[key].(map[string]any)
		value, ok := values[key]
		if !ok && path+"."+key != ".global" && path != ".resources" {
			t.Errorf("values.yaml lacks %s.%s", path, key)
		}
		if nested, isObject := value.(map[string]any); isObject {
			compareValues(t, path+"."+key, nested, property, definitions)
		}
	}
	for key := range values {
		if properties[key] == nil {
			t.Errorf("the schema lacks %s.%s", path, key)
		}
	}
}

// TestTheDefinitionIsTheOneOfConfig, is left when the chart goes unless told
// otherwise, and can be left out.
func TestTheDefinitionIsTheOneOfConfig(t *testing.T) {
	var want apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(crd.YAML(), &want); err != nil {
		t.Fatal(err)
	}
	for set, keep := range map[string]string{"crds.enabled=true": "keep", "crds.enabled=true,crds.keep=false": ""} {
		got := only[apiextensionsv1.CustomResourceDefinition](t, Template(t, "--set", set), "CustomResourceDefinition")
		if got.Annotations["helm.sh/resource-policy"] != keep {
			t.Errorf("%s: annotations %v", set, got.Annotations)
		}
		delete(got.Annotations, "helm.sh/resource-policy")
		if got.Labels = nil; !cmp.Equal(want, got) {
			t.Error("the chart's definition is not that of config/crd: run `make manifests`")
		}
	}
	if slices.Contains(kinds(Template(t, "--set", "crds.enabled=false")), "CustomResourceDefinition") {
		t.Error("crds.enabled=false has a definition all the same")
	}
}

// TestTheImageIsOneReference: for operator, sidecars and test alike.
func TestTheImageIsOneReference(t *testing.T) {
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for set, want := range map[string]string{
		"image.repository=r.example:5000/a/b":                             "r.example:5000/a/b:v0.1.0",
		"image.repository=x,image.tag=v9":                                 "x:v9",
		"image.repository=x,image.tag=v9,image.digest=" + digest:          "x@" + digest,
		"image.repository=x,sidecar.image=y:v1,sidecar.pullPolicy=Always": "x:v0.1.0",
	} {
		objects := Template(t, "--set", set)
		container := only[appsv1.Deployment](t, objects, "Deployment").Spec.Template.Spec.Containers[0]
		sidecar := want
		if strings.Contains(set, "sidecar.image") {
			sidecar = "y:v1"
		}
		if container.Image != want || !slices.Contains(container.Args, "--sidecar-image="+sidecar) {
			t.Errorf("%s: image %s, args %q", set, container.Image, container.Args)
		}
		if test := testPod(t, objects); test.Spec.Containers[0].Image != want {
			t.Errorf("%s: the test's image is %s", set, test.Spec.Containers[0].Image)
		}
	}
}

// TestSidecarsHaveTheResourcesThatAreAskedFor: the operator is told of them, if there are some.
func TestSidecarsHaveTheResourcesThatAreAskedFor(t *testing.T) {
	for set, want := range map[string]string{
		"replicas=2": "",
		"sidecar.resources.limits.memory=256Mi,sidecar.resources.requests.cpu=1": `--sidecar-resources={"limits":{"memory":"256Mi"},"requests":{"cpu":1}}`,
	} {
		args := only[appsv1.Deployment](t, Template(t, "--set", set), "Deployment").Spec.Template.Spec.Containers[0].Args
		i := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "--sidecar-resources") })
		if want == "" && i >= 0 || want != "" && (i < 0 || args[i] != want) {
			t.Errorf("%s: args %q", set, args)
		}
	}
}

// TestHelmTestPingsAPoolOfItsOwn: the pool is a good manifest in a namespace
// that is served, and the pod asks its tracker for its key.
func TestHelmTestPingsAPoolOfItsOwn(t *testing.T) {
	reader, err := manifest.NewReader()
	if err != nil {
		t.Fatal(err)
	}
	for set, namespace := range map[string]string{
		"replicas=2":                          Namespace,
		"watchNamespaces={a,rpcpool-system}":  Namespace,
		"watchNamespaces={tuning,production}": "tuning",
	} {
		for _, object := range Template(t, "--set", set) {
			if object.GetKind() != "RPCPool" {
				continue
			}
			body, err := json.Marshal(object.Object)
			if err != nil {
				t.Fatal(err)
			}
			pools, err := reader.Read("the chart's test", body)
			if err != nil {
				t.Fatal(err)
			}
			if pools[0].Namespace != namespace {
				t.Errorf("%s: the pool is in %s, want %s", set, pools[0].Namespace, namespace)
			}
			args := testPod(t, Template(t, "--set", set)).Spec.Containers[0].Args
			want := []string{
				"ping", "--tracker=" + pools[0].Spec.Tracker.Name + "." + namespace + ".svc:9190", "--key=" + pools[0].DeviceKey(), "--timeout=3m",
			}
			if !slices.Equal(args, want) {
				t.Errorf("%s: args %q, want %q", set, args, want)
			}
		}
	}
}
