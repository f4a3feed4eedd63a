package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"sigs.k8s.io/yaml"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const definitionYAML = `
spec:
  versions:
  - name: v1alpha1
    schema:
      openAPIV3Schema:
        properties:
          spec:
            properties:
              count: {type: integer, default: 3, minimum: 1, maximum: 10000, description: "count of a|b"}
              mode: {type: string, enum: ["Off", Auto], default: Auto, description: mode.}
              names:
                type: array
                items: {type: string}
                x-kubernetes-validations: [{rule: "true", message: must be names}]
              nested: {type: object, default: {}, properties: {limit: {x-kubernetes-int-or-string: true}}}
              template:
                type: object
                description: the pod
                properties:
                  description: {type: string, description: a field of that name}
                  list: {type: array, items: {description: an item, type: object, properties: {a: {description: deep, type: string}}}}
            x-kubernetes-validations: [{rule: "true", message: is required, fieldPath: .count}]
          status: {properties: {free: {type: integer, minimum: 0}}}
`

// finish runs the command on the definition and returns what it wrote.
func finish(t *testing.T, command string) string {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.yaml"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, []byte(definitionYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{command, in, out}); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestTrim: below the template only texts go; ours stay, and so does a field
// whose name is "description".
func TestTrim(t *testing.T) {
	var got node
	if err := yaml.Unmarshal([]byte(finish(t, "trim")), &got); err != nil {
		t.Fatal(err)
	}
	s, err := schema(got)
	if err != nil {
		t.Fatal(err)
	}
	if field(s, "spec", "template")["description"] != "the pod" || field(s, "spec", "mode")["description"] != "mode." {
		t.Error("a description of ours is gone")
	}
	if f := field(s, "spec", "template", "description"); f["type"] != "string" || f["description"] != nil {
		t.Errorf("the field called description is %v", f)
	}
	list := field(s, "spec", "template", "list")
	if items := list["items"].(node); items["description"] != nil || field(items, "a")["description"] != nil || field(items, "a")["type"] != "string" {
		t.Errorf("items are %v", items)
	}
}

func TestDocument(t *testing.T) {
	got := finish(t, "doc")
	for _, want := range []string{
		"| `spec.count` | integer, 1 to 10000 | `3` | count of a\\|b |\n",
		"| `spec.mode` | Off \\| Auto | `Auto` | mode. |\n",
		"| `spec.names` | list of string |  |  |\n",
		"| `spec.nested` | object |  |  |\n",
		"| `spec.nested.limit` | integer or string |  |  |\n",
		"| `spec.template` | object |  | the pod |\n",
		"| `status.free` | integer, at least 0 |  |  |\n",
		"- `spec.count` is required\n",
		"- `spec.names` must be names\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "spec.template.") {
		t.Error("documents Kubernetes' own types")
	}
}

func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	file := func(name, body string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good", definitionYAML)
	cases := map[string][]string{
		"no arguments":       {},
		"an unknown command": {"sing", good, "out"},
		"no such file":       {"trim", filepath.Join(dir, "none"), "out"},
		"not YAML":           {"trim", file("a", "a: ["), "out"},
		"no version":         {"trim", file("b", "spec: {}"), "out"},
		"no schema":          {"doc", file("c", "spec: {versions: [{}]}"), "out"},
		"no template":        {"trim", file("d", "spec: {versions: [{schema: {openAPIV3Schema: {}}}]}"), "out"},
	}
	for name, args := range cases {
		t.Run(name, func(t *testing.T) {
			if err := run(args); err == nil {
				t.Error("accepted")
			}
		})
	}
}
