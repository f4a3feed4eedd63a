package envtest_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"rpcpool.dev/api/v1alpha1"
	"rpcpool.dev/internal/pooltable"
)

type object = pooltable.Object

// pools is a client for the pools of a namespace of the test's own. It speaks
// as kubectl does: nothing of our Go types stands between a manifest and the
// API server.
func pools(t *testing.T) dynamic.ResourceInterface {
	t.Helper()
	server := suite.Server(t)
	client, err := dynamic.NewForConfig(server.Admin.Config)
	if err != nil {
		t.Fatal(err)
	}
	return client.Resource(v1alpha1.GroupVersion().WithResource("rpcpools")).Namespace(server.Namespace(t))
}

// pool is a manifest with the least that a pool can say, and more.
func pool(more object) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: pooltable.Manifest(more)}
}

// parse reads YAML.
func parse(t *testing.T, text string) object {
	t.Helper()
	body, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var out object
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// onTrial creates nothing, but is checked like what does; and no unknown field
// is let through.
func onTrial() metav1.CreateOptions {
	return metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
}

// causes are what the API server's refusal names, as "field: rule".
func causes(t *testing.T, err error) []string {
	t.Helper()
	if !apierrors.IsInvalid(err) {
		t.Fatalf("got %v, want a refusal for what is in it", err)
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		t.Fatalf("%v has no details", err)
	}
	var lines []string
	for _, cause := range status.Status().Details.Causes {
		lines = append(lines, cause.Field+": "+cause.Message)
	}
	return lines
}

// TestBadPoolsAreRefused: every refusal names the field and the rule.
func TestBadPoolsAreRefused(t *testing.T) {
	client := pools(t)
	rows := pooltable.Read(t, "bad.yaml")
	if len(rows) < 30 {
		t.Errorf("only %d bad pools", len(rows))
	}
	for _, tc := range rows {
		t.Run(tc.Name, func(t *testing.T) {
			_, err := client.Create(t.Context(), pool(tc.Pool), onTrial())
			if err == nil {
				t.Fatal("accepted")
			}
			lines := causes(t, err)
			if !slices.ContainsFunc(lines, func(line string) bool {
				return strings.HasPrefix(line, tc.Field+": ") && strings.Contains(line, tc.Rule)
			}) {
				t.Errorf("no cause names %s and %q:\n%s", tc.Field, tc.Rule, strings.Join(lines, "\n"))
			}
			if !strings.Contains(err.Error(), tc.Field+": ") || !strings.Contains(err.Error(), tc.Rule) {
				t.Errorf("people are not told of %s and %q:\n%v", tc.Field, tc.Rule, err)
			}
		})
	}
}

func TestGoodPoolsAreTaken(t *testing.T) {
	client := pools(t)
	for _, tc := range pooltable.Read(t, "good.yaml") {
		t.Run(tc.Name, func(t *testing.T) {
			if _, err := client.Create(t.Context(), pool(tc.Pool), onTrial()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSamplesAreTaken: what the documentation shows can be applied.
func TestSamplesAreTaken(t *testing.T) {
	client := pools(t)
	names, err := os.ReadDir("../../config/samples")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasPrefix(name.Name(), "rpcpool-") {
			continue
		}
		t.Run(name.Name(), func(t *testing.T) {
			text, err := os.ReadFile("../../config/samples/" + name.Name())
			if err != nil {
				t.Fatal(err)
			}
			sample := &unstructured.Unstructured{Object: parse(t, string(text))}
			if _, err := client.Create(t.Context(), sample, onTrial()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestUnknownFieldsAreRefused by name, as kubectl asks for by default.
func TestUnknownFieldsAreRefused(t *testing.T) {
	client := pools(t)
	cases := map[string]string{
		"spec.replica":                            "spec: {replica: 3}",
		"spec.server.sessionTimeout.standard":     "spec: {server: {sessionTimeout: {standard: 1s}}}",
		"spec.rdma.modus":                         "spec: {rdma: {mode: 'Off', modus: a}}",
		"spec.template.spec.containers[0].comand": "spec: {template: {spec: {containers: [{name: a, comand: [x]}]}}}",
		"spec.template.spec.ephemeralContainers":  "spec: {template: {spec: {containers: [{name: a}], ephemeralContainers: []}}}",
		"stauts":                                  "stauts: {}",
	}
	for path, more := range cases {
		t.Run(path, func(t *testing.T) {
			_, err := client.Create(t.Context(), pool(parse(t, more)), onTrial())
			if want := `unknown field "` + path + `"`; !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// TestTheLeastThatAPoolCanSayGetsEveryDefault shows all of them.
func TestTheLeastThatAPoolCanSayGetsEveryDefault(t *testing.T) {
	got, err := pools(t).Create(t.Context(), pool(nil), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := parse(t, `
disruptionBudget: Busy
replicas: 1
rollout: {drainTimeout: 10m, maxUnavailable: 25%}
server:
  command: [w]
  flavour: Auto
  handshakeTimeout: 5s
  isolation: Fork
  killDump: None
  killGracePeriod: 2s
  port: 9090
  protocol: TVM
  quarantine: {failures: 5, window: 60s}
  sessionTimeout: {default: 10m, max: 1h}
  warmWorkers: 1
  workDir: {sizeLimit: 1Gi}
tracker: {name: rpcpool-tracker, port: 9190}
`)
	if diff := cmp.Diff(want, got.Object["spec"]); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if status, found := got.Object["status"]; found {
		t.Errorf("it was born with status %v", status)
	}
}

// TestDefaultsOfWhatIsAskedFor: RDMA has some of its own.
func TestDefaultsOfWhatIsAskedFor(t *testing.T) {
	got, err := pools(t).Create(t.Context(), pool(parse(t, "spec: {rdma: {resourceName: a.b/vf}}")), onTrial())
	if err != nil {
		t.Fatal(err)
	}
	rdma, _, _ := unstructured.NestedMap(got.Object, "spec", "rdma")
	if diff := cmp.Diff(parse(t, "{count: 1, mode: Auto, resourceName: a.b/vf}"), rdma); diff != "" {
		t.Errorf("spec.rdma (-want +got):\n%s", diff)
	}
}

// TestWhatCannotBeChanged: servers are known by key and tracker.
func TestWhatCannotBeChanged(t *testing.T) {
	const (
		key     = "spec.key: Forbidden: is immutable: clients and the tracker know the servers by it"
		port    = "spec.tracker.port: Forbidden: is immutable: servers that are in a session would lose the tracker"
		tracker = "spec.tracker.name: Forbidden: is immutable: make a new pool to move its devices to another tracker"
	)
	cases := map[string]struct{ before, after, want string }{
		"another key":                      {"{key: k}", "{key: l}", key},
		"a key where the name was it":      {"{}", "{key: l}", key},
		"no key where one was":             {"{key: k}", "{key: null}", key},
		"another tracker":                  {"{tracker: {name: s}}", "{tracker: {name: t}}", tracker},
		"another port of the tracker":      {"{tracker: {port: 9191}}", "{tracker: {port: 9192}}", port},
		"the default tracker":              {"{tracker: {name: s}}", "{tracker: null}", tracker},
		"everything else can be":           {"{key: k}", "{replicas: 7, server: {port: 1, command: [v]}, disruptionBudget: None}", ""},
		"a default, said instead of meant": {"{}", "{tracker: {name: rpcpool-tracker}}", ""},
	}
	client := pools(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := pool(object{"spec": parse(t, tc.before), "metadata": object{"name": nil, "generateName": "a-"}})
			made, err := client.Create(t.Context(), before, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			pooltable.Merge(made.Object, object{"spec": parse(t, tc.after)})
			_, err = client.Update(t.Context(), made, metav1.UpdateOptions{FieldValidation: metav1.FieldValidationStrict})
			var got string
			if err != nil {
				got = strings.Join(causes(t, err), "\n")
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
