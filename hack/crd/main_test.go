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
    additionalPrinterColumns:
    - {name: Wide, jsonPath: .b, priority: 1, description: what b is}
    - {name: Always, jsonPath: .a, description: what a is}
    schema:
      openAPIV3Schema:
        properties:
          spec:
            properties:
              count: {type: integer, default: 3, minimum: 1, maximum: 10000, description: "count of a|b"}
              mode: {type: string, enum: ["Off", Auto], default: Auto, description: mode.}
              names:
                type: array
                maxItems: 9
                items: {type: string, maxLength: 63}
                x-kubernetes-validations: [{rule: "true", message: must be names}]
              nested: {type: object, default: {}, properties: {limit: {x-kubernetes-int-or-string: true}}}
              template:
                type: object
                description: the pod
                properties:
                  description: {type: string, description: a field of that name}
                  spec: {type: object, properties: {ephemeralContainers: {type: array}, containers: {type: array}}}
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

// TestTrim: below the template only texts go, and what no pod can be made with;
// ours stay, and so does a field whose name is "description".
func TestTrim(t *testing.T) {
	var got node
	if err := yaml.Unmarshal([]byte(finish(t, "trim")), &got); err != nil {
		t.Fatal(err)
	}
	version, err := firstVersion(got)
	if err != nil {
		t.Fatal(err)
	}
	s, err := schema(version)
	if err != nil {
		t.Fatal(err)
	}
	if field(s, "spec", "template")["description"] != "the pod" || field(s, "spec", "mode")["description"] != "mode." {
		t.Error("a description of ours is gone")
	}
	if f := field(s, "spec", "template", "description"); f["type"] != "string" || f["description"] != nil {
		t.Errorf("the field called description is %v", f)
	}
	if pod := field(s, "spec", "template", "spec"); field(pod, "containers") == nil || field(pod, "ephemeralContainers") != nil {
		t.Errorf("a pod's spec has %v", pod["properties"])
	}
	list := field(s, "spec", "template", "list")
	if items := list["items"].(node); items["description"] != nil || field(items, "a")["description"] != nil || field(items, "a")["type"] != "string" {
		t.Errorf("items are %v", items)
	}
}

func TestDocument(t *testing.T) {
	t.Chdir("../..")
	got := finish(t, "doc")
	for _, want := range []string{
		"| `spec.count` | integer, 1 to 10000 | `3` | count of a\\|b |\n",
		"| `spec.mode` | Off \\| Auto | `Auto` | mode. |\n",
		"| `spec.names` | list of string, at most 63 characters; at most 9 of them |  |  |\n",
		"| `spec.nested` | object |  |  |\n",
		"| `spec.nested.limit` | integer or string |  |  |\n",
		"| `spec.template` | object |  | the pod |\n",
		"| `status.free` | integer, at least 0 |  |  |\n",
		"- `spec.count` is required\n",
		"- `spec.names` must be names\n",
		"| Always | `.a` what a is |\n| Wide | `.b` what b is |\n",
		"| `TrackerReady` | the tracker takes requests. |\n",
		"| `ScalingUp` | pods are being made. |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "spec.template.") {
		t.Error("documents Kubernetes' own types")
	}
}

// TestTheReferenceIsUpToDate, as `make verify` has it, without its tools.
func TestTheReferenceIsUpToDate(t *testing.T) {
	t.Chdir("../..")
	out := filepath.Join(t.TempDir(), "manifest.md")
	if err := run([]string{"doc", "config/crd/bases/rpcpool.dev_rpcpools.yaml", out}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile("docs/manifest.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(committed) {
		t.Error("docs/manifest.md is stale: run `make manifests`")
	}
}

func TestWordsSayWhatTheyMean(t *testing.T) {
	cases := map[string]string{
		"none":              "package a",
		"not Go":            "const",
		"no comment":        `package a; const ReasonA = "A"`,
		"another's comment": "package a\n\nconst (\n// ReasonB: b.\nReasonA = \"A\"\n)",
		"no value":          "package a\n\nconst (\nX = 1\n// ReasonA: a.\nReasonA\n)",
		"no literal":        "package a\n\nconst (\n// ReasonA: a.\nReasonA = \"a\" + \"b\"\n)",
		"no string":         "package a\n\nconst (\n// ReasonA: a.\nReasonA = 1\n)",
	}
	for name, source := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte(source), 0o600); err != nil {
				t.Fatal(err)
			}
			if found, err := words(dir, "Reason"); err == nil {
				t.Errorf("found %v", found)
			}
		})
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
