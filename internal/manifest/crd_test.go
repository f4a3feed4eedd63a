package manifest

import (
	"context"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"rpcpool.dev/config/crd"
)

// TestDefinitionIsAccepted holds the definition to all that an API server asks
// of one: structural, defaults that validate, and CEL rules that compile and
// whose estimated cost is within the budget.
func TestDefinitionIsAccepted(t *testing.T) {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	var external apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(crd.YAML(), &external); err != nil {
		t.Fatal(err)
	}
	scheme.Default(&external)
	external.Status.StoredVersions = []string{"v1alpha1"}
	var internal apiextensions.CustomResourceDefinition
	if err := scheme.Convert(&external, &internal, nil); err != nil {
		t.Fatal(err)
	}
	for _, err := range validation.ValidateCustomResourceDefinition(context.Background(), &internal) {
		t.Error(err)
	}
}

// TestDefinitionFitsIntoApply: `kubectl apply` keeps the whole object, as
// compact JSON, in an annotation, and annotations end at 256 KiB.
func TestDefinitionFitsIntoApply(t *testing.T) {
	body, err := yaml.YAMLToJSON(crd.YAML())
	if err != nil {
		t.Fatal(err)
	}
	if limit := 200 << 10; len(body) > limit {
		t.Errorf("the definition has %d bytes as JSON, more than %d", len(body), limit)
	}
}

func TestNewReaderRefusesBadDefinitions(t *testing.T) {
	cases := map[string]string{
		"not YAML":         "a: [",
		"an unknown field": "kind: CustomResourceDefinition\nspek: {}",
		"another version":  "spec: {versions: [{name: v9, schema: {openAPIV3Schema: {type: object}}}]}",
		"no schema":        "spec: {versions: [{name: v1alpha1}]}",
		"not structural":   "spec: {versions: [{name: v1alpha1, schema: {openAPIV3Schema: {type: object, properties: {a: {$ref: x}}}}}]}",
	}
	for name, definition := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := newReader([]byte(definition)); err == nil {
				t.Error("accepted")
			}
		})
	}
}
